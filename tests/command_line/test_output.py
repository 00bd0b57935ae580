import re

from jknas.command_line import output


def test_off_a_terminal_a_long_run_says_how_far_it_is(capfd, monkeypatch):
    clock = iter(range(0, 10_000, 50))  # seconds between two looks at the clock
    monkeypatch.setattr(output.time, "monotonic", lambda: float(next(clock)))
    with output.Bars(quiet=False) as bars:
        for done in range(5):
            bars.update("mgm", done, 40)
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"mgm: \d of 40, 0\.0\d+ a second, \d+ minutes left", line) for line in lines), lines


def test_a_short_run_and_a_quiet_one_say_nothing(capfd, monkeypatch):
    with output.Bars(quiet=False) as bars:
        for done in range(40):
            bars.update("mgm", done, 40)
    monkeypatch.setattr(output, "_LINE_SECONDS", -1.0)
    with output.Bars(quiet=True) as bars:
        for done in range(40):
            bars.update("mgm", done, 40)
    assert capfd.readouterr().err == ""
