"""Compiled programs, each built once, with the seconds that building took.

``jax.jit`` keeps every program it ever built; training many cells with a static wiring would fill the memory. Here the oldest go, and
compilation is timed apart from running.
"""

import collections
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

__all__ = ["MAX_PROGRAMS", "PROGRAMS", "Programs"]

MAX_PROGRAMS = 16
"""Programs that a :class:`Programs` keeps."""


class Programs:
    """Compiled programs by function, fixed settings, and the shapes, types and devices of the arguments.

    Recompiled when any of these change.
    """

    def __init__(self) -> None:
        self._built: collections.OrderedDict[Hashable, Callable[..., Any]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = (), **fixed: Hashable
    ) -> tuple[Callable[..., Any], float]:
        """Return the program of ``function(*arguments, **fixed)``, and the seconds spent on building it (0 if it was there).

        Args:
            function: a traceable function.
            *arguments: example arguments, JAX arrays in any containers; the program is called with such arguments alone.
            donate: positions of arguments whose memory the result may take.
            **fixed: what is fixed in the program.
        """
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves)
        key = (function, tuple(sorted(fixed.items())), donate, tree, shapes)
        with self._lock:
            if key in self._built:
                self._built.move_to_end(key)
                return self._built[key], 0.0
            start = time.perf_counter()
            program = jax.jit(lambda *arrays: function(*arrays, **fixed), donate_argnums=donate).lower(*arguments).compile()
            self._built[key] = program
            if len(self._built) > MAX_PROGRAMS:
                self._built.popitem(last=False)
            return program, time.perf_counter() - start


PROGRAMS = Programs()
"""The programs of this process."""
