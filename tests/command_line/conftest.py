"""How the tests run the command line in their own process."""

import pytest

from jknas import cli


@pytest.fixture
def run(capfd):
    """Return what runs a command, and returns its exit code and what it wrote."""

    def call(*arguments):
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        # XLA remarks on the features of the machine when it reads a program from the tests' cache.
        return code, out, "".join(line for line in err.splitlines(keepends=True) if "cpu_aot_loader.cc" not in line)

    return call
