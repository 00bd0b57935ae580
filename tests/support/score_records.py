"""Made-up records of scores, and a store of them."""

from pathlib import Path

from jknas.scoring.store import ScoreKey, ScoreRecord, Store, canonical_json

SETTINGS = canonical_json({"batch": 64, "objective": "loss"})
NETWORK = canonical_json({"cells": 5, "channels": 16})


def make_key(number: int = 0, **changes) -> ScoreKey:
    fields = {"space": "nasbench201", "genotype": f"cell {number}", "proxy": "mgm", "settings": SETTINGS, "dataset": "digits", "seed": 0}
    return ScoreKey(**(fields | {"network": NETWORK} | changes))


def make_record(number: int = 0, score: float = 1.5, status: str = "ok", **changes) -> ScoreRecord:
    fields = {"key": make_key(number), "canonical": f"canonical {number % 3}", "score": score, "status": status, "seconds": 0.25}
    return ScoreRecord(**(fields | {"extras": {"rank": number}, "versions": {"jax": "0.10.1"}, "device": "cpu"} | changes))


def write_store(path: Path, *records: ScoreRecord) -> Path:
    with Store(path) as store:
        store.put_many(records)
    return path
