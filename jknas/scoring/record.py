"""What a score is: the key that identifies it, the number, and the status that says what the number means."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jknas.errors import StoreError
from jknas.files.json_text import is_canonical_json

__all__ = ["STATUSES", "ScoreKey", "ScoreRecord", "StoreError", "check_status"]

STATUSES = ("ok", "saturated", "dead", "negative", "non_finite", "failed")
"""What a score may be.

ok: a finite number, to be ranked.  saturated: the score is at a limit of its arithmetic or of its sample, and only says that the truth lies
there or beyond: a numerically singular kernel, or as many regions as inputs.  dead: the architecture's output does not depend on its input;
the score is whatever the proxy returned.  negative: a kernel that is not positive semi-definite beyond rounding.  non_finite: the proxy
returned NaN or an infinity.  failed: a proxy of one's own says that there is no score (NaN). All but "ok" rank last, in this order.
"""


@dataclass(frozen=True, slots=True)
class ScoreKey:
    """What identifies a score: the same key is computed once.

    Attributes:
        space: name of the search space.
        genotype: the architecture as text.
        proxy: name of the proxy.
        settings: the proxy's settings, as `canonical_json` writes them.
        dataset: name of the data (and of its variant, where there are several).
        seed: the seed of initialisation and batch, a 64-bit signed integer.
        network: the size of the network and the resolution, as `canonical_json` writes them.
        revision: of the proxy's definition, see :attr:`jknas.proxies.proxy.BaseProxy.revision`.

    Raises:
        StoreError: a field of the wrong type, or settings that are not canonical JSON (two spellings would count as two scores).
    """

    space: str
    genotype: str
    proxy: str
    settings: str
    dataset: str
    seed: int
    network: str
    revision: int = 1

    def __post_init__(self) -> None:
        for name in ("space", "genotype", "proxy", "settings", "dataset", "network"):
            _check_text(f"ScoreKey.{name}", getattr(self, name))
        for name in ("seed", "revision"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
                raise StoreError(f"ScoreKey.{name} must be an int of at most 64 bits, got {value!r} of type {type(value).__name__}.")
        for name in ("settings", "network"):
            if not is_canonical_json(getattr(self, name)):
                raise StoreError(
                    f"ScoreKey.{name} must be canonical JSON (sorted keys, no spaces), got {getattr(self, name)!r}: "
                    f"write it with jknas.scoring.store.canonical_json(mapping)."
                )


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One score and how it came about.

    Attributes:
        key: what was scored, and how.
        canonical: the canonical form of the genotype, as text.
        score: the number, NaN and infinities included.
        status: one of `STATUSES`.
        seconds: how long this score took.
        extras: further results: None, bool, int, float (of any value), str, and lists and string-keyed mappings of these.
        versions: package name to version.
        device: what it ran on.

    Raises:
        StoreError: a field of the wrong type, an unknown status, or a status that contradicts the score.
    """

    key: ScoreKey
    canonical: str
    score: float
    status: str
    seconds: float
    extras: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.key, ScoreKey):
            raise StoreError(f"ScoreRecord.key must be a ScoreKey, got {type(self.key).__name__}.")
        for name in ("canonical", "status", "device"):
            _check_text(f"ScoreRecord.{name}", getattr(self, name))
        for name in ("score", "seconds"):
            value = getattr(self, name)
            if not isinstance(value, float):
                raise StoreError(
                    f"ScoreRecord.{name} must be a Python float, got {value!r} of type {type(value).__name__}: use float(...)."
                )
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise StoreError(f"ScoreRecord.seconds must be finite and not negative, got {self.seconds}.")
        check_status(self.status)
        contradiction = {
            "ok": None if math.isfinite(self.score) else "'non_finite' or 'dead'",
            "non_finite": "'ok' or 'dead'" if math.isfinite(self.score) else None,
            "failed": None if math.isnan(self.score) else "another status, or the score NaN",
            "saturated": "'non_finite'" if math.isnan(self.score) else None,
            "dead": None,
            "negative": None,
        }[self.status]
        if contradiction:
            raise StoreError(f"status {self.status!r} contradicts the score {self.score}: expected {contradiction}.")
        for name in ("extras", "versions"):
            if not isinstance(getattr(self, name), Mapping):
                raise StoreError(f"ScoreRecord.{name} must be a mapping, got {type(getattr(self, name)).__name__}.")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise StoreError(f"{name} must be a string, got {value!r} of type {type(value).__name__}: use str(...).")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{name} has no UTF-8 text ({error.reason}): {value!r}.") from error


def check_status(status: str) -> None:
    """Raise a `StoreError` for a status that is not one of `STATUSES`."""
    if status not in STATUSES:
        raise StoreError(f"unknown status {status!r}: expected one of {', '.join(STATUSES)}.")
