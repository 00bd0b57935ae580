"""Import ``neural_tangents`` on a current JAX, on which it fails to import by itself.

neural-tangents 0.6.5, its last release, expects names that JAX has moved or removed. It also imports TensorFlow, which nothing here needs.
:func:`import_neural_tangents` supplies what is missing **only while the package is being imported**:

==============================================  =====================================================================
``jax.core.Jaxpr, JaxprEqn, Literal, Var,       the same classes from their public place, ``jax.extend.core``, as attributes of
Primitive``                                     ``jax.core`` until the import is over. Attributes of the module itself, not of a
                                                stand-in, because the package reads them through ``from jax import core`` too.
``jax.interpreters.ad.zeros_like_p``            a primitive that no program contains; the package only makes it the key of a rule for
                                                implementation 3.
``jax.util.safe_map, safe_zip``                 a stand-in module; two functions of three lines.
``neural_tangents.experimental``                an empty stand-in, so that ``tf2jax`` and TensorFlow need not be installed.
==============================================  =====================================================================

Afterwards the modules of JAX and ``sys.modules`` are as before, plus the package itself. Its attribute ``experimental`` explains itself
when used.

What works: the empirical kernels by Jacobian contraction and by NTK-vector products (implementations 1 and 2), linearisation, and the
infinite-width layers of ``stax``. What does not: implementation 3, structured derivatives, which reads JAX's internals at run time and
fails, and implementation 0, which tries all of them. Tested with JAX 0.10 and 0.11.

References: Novak et al., "Neural Tangents: Fast and Easy Infinite Neural Networks in Python", ICLR 2020, arXiv:1912.02803; Novak,
Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022, arXiv:2206.08720.
"""

import contextlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jax.core
import jax.extend.core
import jax.interpreters.ad

from jknas.errors import NeuralTangentsImportError

INSTALLATION = 'pip install --no-deps "neural-tangents>=0.6.5" && pip install "frozendict>=2.3.8"'
"""Installs the two packages that are needed. With all its dependencies neural-tangents would bring TensorFlow, about 3 GB."""

_MOVED = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
"""Names that ``jax.core`` had and ``jax.extend.core`` has."""

_ONE_AT_A_TIME = threading.Lock()


def import_neural_tangents() -> ModuleType:
    """Return the module ``neural_tangents``, made to import on current JAX.

    The first call takes a fraction of a second. A module that is already imported is returned unchanged. JAX stays as it was.

    Raises:
        NeuralTangentsImportError: the package, or ``frozendict`` which it needs, is not installed (the message gives the command that
            installs them), or the import fails.
    """
    with _ONE_AT_A_TIME:
        imported = sys.modules.get("neural_tangents")
        if imported is not None:
            return imported
        missing = [name for name in ("neural_tangents", "frozendict") if importlib.util.find_spec(name) is None]
        if missing:
            raise NeuralTangentsImportError(
                f"{' and '.join(missing)} cannot be imported, and this function needs neural-tangents. "
                f"Install it without TensorFlow: {INSTALLATION}",
                name=missing[0],
            )
        before = set(sys.modules)
        try:
            with _moved_names(), _stand_ins():
                return importlib.import_module("neural_tangents")
        except Exception as error:
            for name in set(sys.modules) - before:
                if name.partition(".")[0] == "neural_tangents":  # half a package would be taken for a whole one by the next import
                    del sys.modules[name]
            raise NeuralTangentsImportError(
                f"neural-tangents does not import on JAX {jax.__version__}, even with the names that JAX 0.11 lacks: {error}. "
                f"Known to work: neural-tangents 0.6.5 with JAX 0.10 and 0.11.",
                name="neural_tangents",
            ) from error


@contextlib.contextmanager
def _moved_names() -> Iterator[None]:
    """Temporarily set the names that JAX's modules lack. If a deprecated name still exists, ours avoids its warning."""
    wanted: list[tuple[ModuleType, str, Any]] = [(jax.core, name, getattr(jax.extend.core, name)) for name in _MOVED]
    wanted.append((jax.interpreters.ad, "zeros_like_p", jax.extend.core.Primitive("zeros_like")))
    supplied = [(module, name, value) for module, name, value in wanted if name not in vars(module)]
    for module, name, value in supplied:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, _ in supplied:
            delattr(module, name)


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Temporarily install the stand-in modules."""
    stand_ins = {"jax.util": _util(), "neural_tangents.experimental": _Experimental("neural_tangents.experimental")}
    replaced = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in replaced.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _safe_map(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    return [function(*items) for items in zip(*arguments, strict=True)]


def _safe_zip(*arguments: Any) -> list[tuple[Any, ...]]:
    return list(zip(*arguments, strict=True))


def _util() -> ModuleType:
    module = ModuleType("jax.util")
    vars(module).update(safe_map=_safe_map, safe_zip=_safe_zip)
    return module


class _Experimental(ModuleType):
    """Replaces the part of neural-tangents that needs TensorFlow."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"neural_tangents.experimental.{name} needs TensorFlow; jknas imports neural-tangents without its experimental package"
        )
