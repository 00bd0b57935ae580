"""References ``module:NAME`` to values that a module outside of this package defines."""

import importlib
from typing import Any

from jknas.errors import SpaceError


def load_reference(text: str, kind: str) -> Any:
    """Return what ``module:NAME`` refers to.

    Args:
        text: a module's dotted name, a colon, and the name of an attribute.
        kind: what is expected, for the message.

    Raises:
        SpaceError: the text has another form, the module cannot be imported, or it has no such attribute.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise SpaceError(f"{text!r} does not name a {kind}: expected module:NAME, as in mypackage.myspace:SPACE.")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise SpaceError(
            f"the module of the {kind} {text!r} cannot be imported ({error}): check its name and that it is on PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise SpaceError(f"the module {module!r} has no {name!r}: name the {kind} that it defines, as module:NAME.") from error
