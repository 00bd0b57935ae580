"""What a store of scores holds, in a few numbers."""

from collections import Counter
from typing import Any

from jknas.files.json_text import read_json
from jknas.scoring.store import Store

GROUP = ("space", "dataset", "network", "proxy", "settings", "seed", "revision")
"""The columns in which comparable scores agree."""


def described(store: Store) -> dict[str, Any]:
    """Return what a store holds, as plain data: its groups, each with the counts of its statuses, its versions and its devices.

    Scores of one group were computed alike, so that they can be compared.
    """
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for *values, status, count, seconds in store.counted(*GROUP, "status"):
        named = dict(zip(GROUP, values, strict=True))
        named |= {name: read_json(named[name]) for name in ("settings", "network")}
        group = groups.setdefault(tuple(values), {**named, "scores": 0, "seconds": 0.0, "statuses": {}})
        group["statuses"][status] = count
        group["scores"] += count
        group["seconds"] += seconds
    for group in groups.values():
        group["mean_seconds"] = group["seconds"] / group["scores"]
    devices = Counter({device: count for device, count, _ in store.counted("device")})
    versions = [{"scores": count, "versions": read_json(text)} for text, count, _ in store.counted("versions")]
    total = {"scores": len(store), "seconds": sum(group["seconds"] for group in groups.values())}
    return {"store": str(store.path), **total, "devices": dict(devices), "versions": versions, "groups": list(groups.values())}
