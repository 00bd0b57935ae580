"""Scores of several proxies for one pool of architectures, for methods that mix them: by name of the proxy, then by genotype.

Larger is better in every proxy (change the sign of a condition number before), and a score is NaN where its status is not "ok".
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from jknas.errors import SearchError

Measured = Mapping[str, Mapping[Any, float]]


def check_measured(measured: Measured | None) -> None:
    """Check the scores of a pool.

    Raises:
        SearchError: no proxy, no architecture, proxies that were not measured on the same architectures, or an infinite score.
    """
    if measured is None:
        return
    if not measured or not all(measured.values()):
        raise SearchError("measured holds no scores: give it those of one proxy or more, each by genotype, or pass None.")
    first, *others = measured
    for name in others:
        if measured[name].keys() != measured[first].keys():
            apart = len(measured[name].keys() ^ measured[first].keys())
            raise SearchError(
                f"measured holds {len(measured[first]):,} architectures of {first}, {len(measured[name]):,} of {name}, and {apart:,} "
                "of one alone: score one pool by all proxies (a search has scored the best of its sample alone by what orders these anew; "
                "`jknas score` scores the others); a score that could not be computed is NaN."
            )
    for name, scores in measured.items():
        infinite = sum(math.isinf(score) for score in scores.values())
        if infinite:
            raise SearchError(f"measured: {infinite:,} scores of {name} are infinite; expected NaN where the status is not 'ok'.")


def identity_of(measured: Measured | None) -> dict[str, Any]:
    """Return what the identity of a problem holds of its measured scores: nothing where there are none.

    The order of the architectures is part of it, because ties go to the one listed first.
    """
    if measured is None:
        return {}
    digest = hashlib.sha256()
    for name in sorted(measured):
        digest.update("\n".join((name, *(f"{genotype} {score!r}" for genotype, score in measured[name].items()), "")).encode())
    size = len(next(iter(measured.values())))
    return {"measured": {"proxies": sorted(measured), "scored": size, "digest": digest.hexdigest()[:16]}}
