"""One cache of compiled programs, which also times compilation.

``jax.jit`` keeps every program that it ever built, so training many cells or computing the kernels of many models would fill the memory.
Here the least recently used program is dropped. On Linux it is dropped earlier where the process has taken most of the memory
mappings that the kernel allows it: each program takes hundreds, of a DARTS network thousands, and without any left XLA aborts the process.
"""

import collections
import functools
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from jknas.workers.environment import SETTINGS

__all__ = ["PROGRAMS", "Compiled", "Programs"]

T = TypeVar("T")


CROWDED = 0.5
"""The part of the memory mappings of a process above which programs are dropped, down to FEWEST."""
FEWEST = 4


class Compiled(NamedTuple):
    """A compiled program and what it cost.

    Attributes:
        program: takes arguments of the shapes, dtypes and devices that it was compiled for.
        seconds: spent on tracing and compiling by this call; 0 if the program was there.
    """

    program: Callable[..., Any]
    seconds: float


class Programs:
    """At most ``limit`` compiled programs; the least recently used one is dropped first. Safe to use from several threads.

    Args:
        limit: programs to keep.
    """

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self._built: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.RLock()  # a function that is being traced may ask for a program of its own

    def compiled(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        fixed: Mapping[str, Hashable] | None = None,
        key: Hashable = None,
        donate: tuple[int, ...] = (),
        on_compile: Callable[[], None] | None = None,
    ) -> Compiled:
        """Return the program of ``function(*arguments, **fixed)``.

        A program is compiled for each ``key``, ``fixed``, ``donate``, each set of shapes, dtypes and devices of the arguments, and each
        set of JAX's settings that decide numbers.

        Args:
            function: a traceable function.
            *arguments: arrays in any pytrees, of which shapes, dtypes and devices count. The program takes such arguments alone.
            fixed: keyword arguments that are constants of the program.
            key: stands for the function; by default the function itself. Name a closure that is made anew for every call. Functions of one
                key must be equal.
            donate: positions of arguments whose memory the result may take.
            on_compile: called before a program is compiled, not when it is there.

        Returns:
            The program, and the seconds that this call spent on compiling.
        """
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves)
        constants = tuple(sorted((fixed or {}).items()))
        settings = tuple(getattr(jax.config, name) for name in SETTINGS)
        name = (function if key is None else key, constants, donate, tree, shapes, settings)
        seconds = 0.0

        def build() -> Callable[..., Any]:
            nonlocal seconds
            if on_compile is not None:
                on_compile()
            start = time.perf_counter()
            program = jax.jit(functools.partial(function, **dict(constants)), donate_argnums=donate).lower(*arguments).compile()
            seconds = time.perf_counter() - start
            return program

        return Compiled(self._kept(name, build), seconds)

    def jitted(self, function: Callable[..., Any], *first: Any) -> Callable[..., Any]:
        """Return ``jax.jit`` of ``functools.partial(function, *first)``, the same object for equal arguments.

        For functions that are also called while JAX traces, where there is nothing to compile. Arguments without a hash are compiled for,
        and not kept.
        """
        return self._kept((function, first), lambda: jax.jit(functools.partial(function, *first)))

    def _drop(self) -> None:
        while len(self._built) > self.limit:
            self._built.popitem(last=False)
        taken = mappings()
        while taken > CROWDED and len(self._built) > FEWEST:
            self._built.popitem(last=False)
            before, taken = taken, mappings()
            if taken >= before:  # someone else holds that program, or the mappings are not ours
                break

    def _kept(self, name: Hashable, build: Callable[[], T]) -> T:
        """Return what ``build`` returned when this name was first asked for. A name without a hash is built for, and not kept."""
        try:
            hash(name)
        except TypeError:
            return build()
        with self._lock:
            if name not in self._built:
                self._built[name] = build()
                self._drop()
            else:
                self._built.move_to_end(name)
            return self._built[name]


def mappings() -> float:
    """Return which part of the memory mappings that Linux allows a process is taken; 0 where this cannot be read."""
    try:
        taken = Path("/proc/self/maps").read_bytes().count(b"\n")
        return taken / int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


PROGRAMS = Programs()
"""The programs of this process."""
