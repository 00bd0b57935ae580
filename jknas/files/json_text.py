"""Write settings and results as JSON text: one spelling for one value, and no number lost on the way.

JSON has no NaN and no infinities. Inside the store they are written as ``{"float": "nan"}``, ``{"float": "inf"}`` and
``{"float": "-inf"}``, which `read_json` turns back into the floats; in files for other programs (`export_json`) they are the
strings ``"nan"``, ``"inf"`` and ``"-inf"``.
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

from jknas.errors import JsonTextError

__all__ = ["JsonTextError", "canonical_json", "differences", "export_json", "is_canonical_json", "read_json", "write_json"]

_SPELLINGS = ("nan", "inf", "-inf")


def canonical_json(mapping: Mapping[str, Any]) -> str:
    """Write settings as the one JSON text that equal settings share: sorted keys, no spaces, ASCII.

    The text tells 1 from 1.0 and 0.0 from -0.0: keep the types of a setting stable, or the same settings count as different ones.

    Args:
        mapping: names to None, bool, int, finite float, str, or (nested) tuples of these.

    Returns:
        The JSON text of an object.

    Raises:
        JsonTextError: not a mapping, a name that is not a string, or a value of another type.

    >>> canonical_json({"floor": 1e-6, "batch": 64, "layers": ("stem", "head")})
    '{"batch":64,"floor":1e-06,"layers":["stem","head"]}'
    """
    if not isinstance(mapping, Mapping):
        raise JsonTextError(
            f"settings must be a mapping of names to values, got {type(mapping).__name__}: pass a dict, {{}} for no settings."
        )
    for name, value in mapping.items():
        _check_name(name, "settings")
        _check_setting(name, value)
    return json.dumps(dict(mapping), sort_keys=True, separators=(",", ":"), allow_nan=False)


@functools.lru_cache(maxsize=1024)
def is_canonical_json(text: str) -> bool:
    """Tell whether `text` is exactly what `canonical_json` writes."""
    try:
        value = json.loads(text)
        return isinstance(value, dict) and canonical_json({name: _tuples(item) for name, item in value.items()}) == text
    except (ValueError, RecursionError):  # JsonTextError and JSONDecodeError are ValueErrors
        return False


def write_json(value: Any, where: str) -> str:
    """Write a result so that `read_json` restores its numbers.

    Args:
        value: None, bool, int, float (of any value), str, or lists, tuples (they come back as lists) and string-keyed mappings of these.
        where: what the value is called in an error.

    Raises:
        JsonTextError: a value of another type; an array, for example, must be made a list first.
    """
    return json.dumps(_tagged(value, where, lambda spelling: {"float": spelling}), sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_json(text: str) -> Any:
    """Read what `write_json` wrote.

    Raises:
        JsonTextError: the text is not JSON.
    """

    def untag(item: dict[str, Any]) -> Any:
        return float(item["float"]) if _is_tag(item) else item

    try:
        return json.loads(text, object_hook=untag)
    except (ValueError, RecursionError) as error:
        raise JsonTextError(f"not JSON text ({error}): {text[:60]!r}") from error


def export_json(value: Any) -> str:
    """Write strict JSON for other programs, NaN and the infinities as the strings "nan", "inf" and "-inf"."""
    return json.dumps(_tagged(value, "export", lambda spelling: spelling), allow_nan=False)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return in words how the identity that a file holds differs from the one that is wanted, name by name."""
    names = (name for name in dict.fromkeys([*here, *there]) if there.get(name) != here.get(name))
    return "; ".join(f"{name} is {there.get(name)!r} there and {here.get(name)!r} here" for name in names)


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str):
        raise JsonTextError(f"{where}: names must be strings, got {name!r} of type {type(name).__name__}.")


def _check_setting(name: str, value: object) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_setting(name, item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise JsonTextError(f"setting {name!r} is {value}: a setting must be finite; use None for 'no limit'.")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise JsonTextError(
            f"setting {name!r} has type {type(value).__name__}: expected None, bool, int, float, str or a tuple of these; "
            "make a list a tuple, and an array's scalar a Python number with .item()."
        )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _is_tag(item: Mapping[str, Any]) -> bool:
    return len(item) == 1 and item.get("float") in _SPELLINGS


def _tagged(value: Any, where: str, spell: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return spell(str(float(value)))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_tagged(item, where, spell) for item in value]
    if isinstance(value, Mapping):
        for name in value:
            _check_name(name, where)
        if _is_tag(value):
            raise JsonTextError(f"{where}: the mapping {dict(value)} is how a non-finite number is written: pass the float itself.")
        return {name: _tagged(item, f"{where}[{name!r}]", spell) for name, item in value.items()}
    raise JsonTextError(
        f"{where} has type {type(value).__name__}: expected None, bool, int, float, str, or lists and mappings of these; "
        "make an array a list with .tolist(), and its scalar a Python number with .item()."
    )
