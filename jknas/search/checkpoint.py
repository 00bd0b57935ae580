"""The state of a search on disk: one JSON file, replaced in one move after each step.

:func:`to_plain` and :func:`from_plain` follow the annotations of the records. A genotype becomes its text.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jknas.errors import JsonTextError, SearchError
from jknas.files.atomic import write_atomically
from jknas.files.json_text import differences, read_json, write_json
from jknas.search.state import Genotype, State

STATE_FILE = "state.json"
_FORMAT = 2
_FIELDS = {"format": int, "identity": Mapping, "state": Mapping, "steps": int, "seconds": float}

S = TypeVar("S", bound=State)


class Checkpoint(NamedTuple):
    """The state after some steps, and the wall-clock seconds that they took."""

    state: Any
    steps: int
    seconds: float


def to_plain(record: State) -> Any:
    """Return a state as strings, numbers, lists and mappings."""
    return _convert(type(record), record, str, _written)


def from_plain(kind: type[S], plain: Any, parse: Callable[[str], Any]) -> S:
    """Return the state that :func:`to_plain` wrote.

    Args:
        kind: the class of the state.
        plain: what was written.
        parse: text to genotype.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not such a state.
    """
    found: S = _convert(kind, plain, parse, _read)
    return found


def write(folder: Path, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; when this returns, it outlives the process.

    Raises:
        SearchError: the folder cannot be written.
    """
    content = {"format": _FORMAT, "identity": identity, **checkpoint._asdict(), "state": to_plain(checkpoint.state)}
    write_atomically(folder / STATE_FILE, write_json(content, "the state of the search"), error=SearchError, what="the checkpoint")


def read(folder: Path, kind: type[State], identity: Mapping[str, Any], parse: Callable[[str], Any]) -> Checkpoint | None:
    """Read a checkpoint of this very search; None when there is none.

    Args:
        folder: that holds it.
        kind: the class of the method's states.
        identity: of the search.
        parse: text to genotype.

    Raises:
        SearchError: it is damaged, or of another search.
    """
    path = folder / STATE_FILE
    try:
        content = read_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except JsonTextError as error:
        raise _damaged(path, "it is not JSON") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in _FIELDS.items()):
        raise _damaged(path, f"expected an object with {', '.join(_FIELDS)}")
    if content["format"] != _FORMAT:
        raise SearchError(
            f"the checkpoint {path} has format {content['format']}, and this release reads {_FORMAT}: search into another folder."
        )
    found, wanted = content["identity"], read_json(write_json(identity, "the search"))
    if found != wanted:
        raise SearchError(
            f"the checkpoint {path} is of another search: {differences(found, wanted)}. Resume with the same arguments, or use another "
            "folder."
        )
    try:
        return Checkpoint(from_plain(kind, content["state"], parse), content["steps"], content["seconds"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, f"its state is no {kind.__name__}: {error!r:.80}") from error


def _damaged(path: Path, reason: str) -> SearchError:
    return SearchError(
        f"the checkpoint {path} is damaged ({reason}). Delete it to start anew; scores that are in a store are not computed again."
    )


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _convert(kind: Any, value: Any, genotype: Callable[[Any], Any], record: Callable[..., Any]) -> Any:
    """Convert a value of an annotated kind, in one direction or the other."""
    if value is None:
        return None
    if kind == Genotype:
        return genotype(value)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return _convert(parts[0], value, genotype, record)
    if origin is tuple:
        return tuple(_convert(parts[0], item, genotype, record) for item in value)
    if dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, tuple)):
        return record(kind, value, lambda part, item: _convert(part, item, genotype, record))
    return value


def _written(kind: Any, value: Any, convert: Callable[..., Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields
    return {name: convert(_fields(kind)[name], getattr(value, name)) for name in names}


def _read(kind: Any, value: Any, convert: Callable[..., Any]) -> Any:
    return kind(**{name: convert(_fields(kind)[name], item) for name, item in value.items()})
