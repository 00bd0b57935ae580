"""The type checker of the suite: beartype, on the arguments and results that are arrays."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args

import jax
from beartype import beartype
from beartype.vale import Is
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable[..., Any])

# JAX rebuilds a record with any object for an array: ShapeDtypeStruct in jax.eval_shape, NumPy arrays in a jax.tree.map.
NotAnArray = Annotated[object, Is[lambda leaf: not isinstance(leaf, jax.Array)]]


def checked(function: F) -> F:
    """Check the arrays of a call: their class, dtype and shape, with one size for one name.

    Arguments are checked with the result, when the function has returned: it may refuse a wrong array with an error of its own, but must
    not take it. Annotations without arrays are mypy's to check: the tests of bad input break them on purpose.

    Args:
        function: one of the two that jaxtyping makes for every function: one has its arguments alone, which jaxtyping calls first; the
            other has the result ("ret0") as a further argument, and returns it.
    """
    annotations = {name: hint for name, hint in function.__annotations__.items() if _has_array(hint)}
    if not annotations or not any(re.fullmatch(r"ret\d+", name) for name in function.__annotations__):
        return function
    if function.__name__ == "__init__":
        annotations = {name: hint | NotAnArray for name, hint in annotations.items()}
    function.__annotations__ = annotations
    return beartype(function)


def _has_array(hint: object) -> bool:
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(_has_array, get_args(hint)))
