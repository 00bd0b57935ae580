"""The cache of compiled programs: what is compiled once, what is compiled anew, and what is dropped."""

import gc
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jknas.xla.programs import Programs, mappings


@pytest.fixture
def programs():
    return Programs(limit=3)


@pytest.fixture
def traced():
    return []


@pytest.fixture
def add(traced):
    def add(x, *, number=0):
        traced.append(number)
        return x + number

    return add


def test_the_least_recently_used_goes(programs, add, traced):
    x = jnp.zeros(2, jnp.int32)
    for number in range(4):
        assert programs.compiled(add, x, fixed={"number": number}).program(x)[0] == number
    assert programs.compiled(add, x, fixed={"number": 1}).seconds == 0
    assert programs.compiled(add, x, fixed={"number": 0}).seconds > 0  # in the place of 2
    assert programs.compiled(add, x, fixed={"number": 1}).seconds == 0
    assert traced == [0, 1, 2, 3, 0]


def test_programs_go_while_the_process_is_short_of_memory_mappings(add, traced, monkeypatch):
    programs, x, taken = Programs(limit=7), jnp.zeros(2, jnp.int32), iter([0.1] * 6 + [0.9, 0.8, 0.4])
    monkeypatch.setattr("jknas.xla.programs.mappings", lambda: next(taken))
    for number in range(7):
        programs.compiled(add, x, fixed={"number": number})  # the last drops two
    for number in range(2, 7):
        assert programs.compiled(add, x, fixed={"number": number}).seconds == 0
    assert list(taken) == []
    monkeypatch.setattr("jknas.xla.programs.mappings", lambda: 0.9)
    for number in (0, 1):
        programs.compiled(add, x, fixed={"number": number})  # dropping does not help: one goes for each that comes
    for number in (4, 5, 6, 0, 1):
        assert programs.compiled(add, x, fixed={"number": number}).seconds == 0
    taken = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr("jknas.xla.programs.mappings", lambda: next(taken))
    programs.compiled(add, x, fixed={"number": 2})  # the fewest stay
    assert list(taken) == [0.6]
    assert traced == [*range(7), 0, 1, 2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says")
def test_a_program_that_is_dropped_gives_its_mappings_back(programs):
    def long(x, *, number):
        for times in range(60):
            x = jnp.sort(jnp.sin(x @ x.T) * number, 0) * times
        return x

    x, counts = jnp.ones((4, 4)), []
    for number in range(6):
        programs.compiled(long, x, fixed={"number": number}).program(x)
        gc.collect()
        counts.append(mappings())
    assert 0 < counts[0] < counts[1] < counts[2] < 0.5
    assert counts[5] - counts[2] < (counts[2] - counts[1]) / 2


def test_shapes_dtypes_and_precision_count_but_values_do_not(programs, add, traced):
    for x in (np.zeros(2, np.int32), np.ones(2, np.int32), np.zeros(3, np.int32), np.zeros(2, np.float32), {"x": np.zeros(2, np.int32)}):
        programs.compiled(add if not isinstance(x, dict) else lambda x: add(x["x"]), x)
    with jax.enable_x64(True):
        programs.compiled(add, np.zeros(2, np.float32))
    assert len(traced) == 5


def test_a_key_stands_for_closures_that_are_equal(programs, add, traced):
    x = jnp.zeros(2, jnp.int32)
    for _ in range(2):
        programs.compiled(lambda x: add(x), x, key="add")  # noqa: PLW0108 - a closure of its own each time
    assert traced == [0]


def test_compilation_is_announced_once(programs, add):
    said = []
    for _ in range(2):
        programs.compiled(add, jnp.zeros(2, jnp.int32), on_compile=lambda: said.append("add"))
    assert said == ["add"]


def test_a_donated_argument_is_used_up(programs):
    x = jnp.zeros(2)
    program, _ = programs.compiled(lambda x: x + 1, x, donate=(0,))
    assert program(x)[0] == 1
    assert x.is_deleted()


def test_a_traced_function_may_ask_for_a_program(programs, add):
    inner = lambda x: programs.jitted(add)(x) + 1  # noqa: E731
    assert programs.compiled(inner, jnp.zeros(2)).program(jnp.zeros(2))[0] == 1


class TestJitted:
    def test_equal_constants_share_a_program(self, programs, traced):
        def plus(number, x):
            traced.append(number)
            return x + number

        x = jnp.zeros(2, jnp.int32)
        for number in (1, 1, 2):
            assert programs.jitted(plus, number)(x)[0] == number
        assert traced == [1, 2]

    def test_constants_without_a_hash_are_not_kept(self, programs):
        add = lambda numbers, x: x + numbers[0]  # noqa: E731
        assert programs.jitted(add, [1])(jnp.zeros(2, jnp.int32))[0] == 1
        assert programs.jitted(add, [1]) is not programs.jitted(add, [1])


def test_settings_that_decide_numbers_count(programs, add, traced):
    x = jnp.zeros(2, jnp.int32)
    for precision in ("highest", "default", "highest"):
        with jax.default_matmul_precision(precision):
            programs.compiled(add, x, fixed={"number": 1})
    assert traced == [1, 1]
