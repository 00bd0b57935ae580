"""The type checker of the suite: beartype, on the arguments and results that are arrays."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from beartype import beartype
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable[..., Any])


def checked(function: F) -> F:
    """Check the arrays of a function at each call: the class, the dtype and the shape, with one size for one name.

    Other annotations are mypy's to check: the tests of bad input pass wrong numbers and texts on purpose, to see how jknas refuses them.
    """
    annotations = {name: hint for name, hint in function.__annotations__.items() if _has_array(hint)}
    if not annotations:
        return function
    function.__annotations__ = annotations
    return beartype(function)


def _has_array(hint: object) -> bool:
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(_has_array, get_args(hint)))
