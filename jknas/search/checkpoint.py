"""The state of a search on disk: one JSON file, replaced in one move after each step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jknas.errors import JsonTextError, SearchError
from jknas.files.atomic import write_atomically
from jknas.files.json_text import read_json, write_json

STATE_FILE = "state.json"
_FORMAT = 1
_FIELDS = {"format": int, "identity": Mapping, "state": Mapping, "steps": int, "seconds": float}


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; when this returns, it outlives the process.

    Raises:
        SearchError: the folder cannot be written.
    """
    text = write_json({"format": _FORMAT, **content}, "the state of the search")
    write_atomically(folder / STATE_FILE, text, error=SearchError, what="the checkpoint")


def read(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint of this very search; None when there is none.

    Raises:
        SearchError: it is damaged, or of another search.
    """
    path = folder / STATE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    try:
        content = read_json(text)
    except JsonTextError as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in _FIELDS.items()):
        raise _damaged(path, f"expected an object with {', '.join(_FIELDS)}")
    if content["format"] != _FORMAT:
        raise SearchError(
            f"the checkpoint {path} has format {content['format']}, and this release reads {_FORMAT}: search into another folder."
        )
    found, wanted = content["identity"], read_json(write_json(identity, "the search"))
    if found != wanted:
        differences = [
            f"{name} is {found.get(name)!r} there and {wanted.get(name)!r} here"
            for name in dict.fromkeys([*wanted, *found])
            if found.get(name) != wanted.get(name)
        ]
        raise SearchError(
            f"the checkpoint {path} is of another search: {'; '.join(differences)}. Resume with the same arguments, or use another folder."
        )
    return content


def _damaged(path: Path, reason: str) -> SearchError:
    return SearchError(
        f"the checkpoint {path} is damaged ({reason}). Delete it to start anew; scores that are in a store are not computed again."
    )
