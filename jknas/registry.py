"""Things by name: those of this package, those that a module of the user defines, called ``module:NAME``, and optional packages."""

import importlib
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Generic, Protocol, TypeVar, cast

from jknas.errors import JknasError, choose


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str:
        """What users type."""


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """The things of one kind.

    Attributes:
        things: by name. Add with :meth:`register`.
    """

    def __init__(self, kind: str, record: type | UnionType, *, expected: str, error: type[JknasError], names: str = r"[^\s:]+") -> None:
        """Make an empty registry.

        Args:
            kind: what the things are, in messages.
            record: their class.
            expected: what to define in place of something of another class, for the message.
            error: the class of what is raised.
            names: a regular expression that names match.
        """
        self.things: dict[str, T] = {}
        self._names = names
        self._references: dict[str, str] = {}
        self._kind, self._record, self._expected, self._error = kind, record, expected, error

    def get(self, name: str) -> T:
        """Return the thing of a name, or the one that a module defines, which is registered then.

        Raises:
            JknasError: of the registry's kind: nothing has that name (the message lists what there is), or the reference leads nowhere.
        """
        if not (isinstance(name, str) and ":" in name):
            return self.things[choose(self._kind, name, tuple(self.things), error=self._error)]
        found = load_reference(name, self._kind, error=self._error)
        if not isinstance(found, self._record):
            raise self._error(f"{name!r} is a {type(found).__name__}; expected {self._expected}.")
        thing = cast("T", found)
        self.register(thing)
        self._references[thing.name] = name
        return thing

    def register(self, thing: T) -> None:
        """Add a thing, so that :meth:`get` and the command line know its name.

        Raises:
            JknasError: of the registry's kind: another thing has that name, or commands and expressions could not hold the name.
        """
        if not re.fullmatch(self._names, thing.name):
            raise self._error(f"a {self._kind} cannot be called {thing.name!r}: choose one word of letters, digits and underscores.")
        if self.things.setdefault(thing.name, thing) is not thing:
            raise self._error(f"a {self._kind} called {thing.name!r} is registered already: give yours another name.")

    def reference_of(self, thing: T) -> str:
        """Return the text by which :meth:`get` finds a thing in another process.

        Raises:
            JknasError: of the registry's kind: the thing is not registered here, so that no name leads to it.
        """
        if self.things.get(thing.name) is not thing:
            raise self._error(f"the {self._kind} {thing.name!r} is not registered: only what has a name can be sent to another process.")
        return self._references.get(thing.name, thing.name)


def load_reference(text: str, kind: str, *, error: type[JknasError]) -> Any:
    """Return what ``module:NAME`` refers to.

    Args:
        text: the dotted name of a module in the current folder or on ``PYTHONPATH``, a colon, and the name of an attribute.
        kind: what is expected, for the message.
        error: the class of what is raised.

    Raises:
        JknasError: the text has another form, the module cannot be imported (its own code may raise anything, for instance where a record
            lacks a field), or it has no such attribute.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise error(f"{text!r} does not name a {kind}: expected module:NAME, as in mypackage.mymodule:NAME.")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a command's path begins with the folder of the command, not with the user's; last, so that it hides nothing
    try:
        found = importlib.import_module(module)
    except Exception as problem:  # the module is the caller's
        reason = str(problem) if isinstance(problem, ImportError) else f"{type(problem).__name__}: {problem}"
        raise error(
            f"the module of the {kind} {text!r} cannot be imported ({reason}): check its name, its code, and that it is in the current "
            "folder or on PYTHONPATH."
        ) from problem
    if not hasattr(found, name):
        raise error(f"the module {module!r} has no {name!r}: name the {kind} that it defines, as module:NAME.")
    return getattr(found, name)


def optional(module: str, message: str, *, error: type[JknasError]) -> Any:
    """Import a module of an optional package, and return the package, as the statement ``import`` does.

    Raises:
        JknasError: of the class ``error``, with that message: it is not installed.
    """
    try:
        return __import__(module)
    except ImportError as problem:
        raise error(message) from problem
