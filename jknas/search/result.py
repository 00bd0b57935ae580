"""The record of a search for a file: everything that is needed to judge it and to run it again.

============================================  =======================================================================================
field                                         content
============================================  =======================================================================================
method, settings                              name and hyper-parameters
complete, steps                               whether the method came to its end (otherwise its budget did), and its steps
genotype, canonical, parameters, macs         the winner (null before one is trained): string, canonical form, size of its whole network
validation_accuracy, test_accuracy            of the winner, 0..1, null where it was not trained; the test split is read once,
                                              at the end, for the winner alone
seconds                                       wall-clock time, and where it went: ``timing`` (compile, score, train, test)
device, versions                              what it ran on
space, dataset, network, proxy, recipe, seed  the problem; of a table space, dataset, protocol, accounting, seeds, proxy, seed
counts                                        sampled, by status (`jknas.scoring.store.STATUSES`, and unscored), trained, diverged
null_model                                    how the winner ranks by number of parameters alone among the sampled, and Spearman's
                                              correlation of score and number of parameters over the finite scores of live cells
candidates                                    in the order drawn: genotype, canonical, score, status, seconds, rank, parameters; of the
                                              trained ones validation_accuracy, curves, and training (status, seconds, compile_seconds)
rounds, left                                  of a pruning search alone: what was live, measured, ranked and removed in every round, and
                                              what is left
============================================  =======================================================================================

Seconds of a score that was read from a store are those of its computation. Non-finite numbers stay floats here; write the record with
`jknas.files.json_text.export_json`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from jknas.ranking import metrics
from jknas.scoring.environment import device, versions
from jknas.scoring.store import STATUSES
from jknas.search.driver import SearchResult
from jknas.search.problem import AnyProblem


def as_record(result: SearchResult) -> dict[str, Any]:
    """Return the record of a search, as plain data."""
    problem, state = result.problem, result.state
    listed = [_candidate(problem, candidate) for candidate in state["candidates"]]
    winner = None if state["winner"] is None else listed[state["winner"]]
    timing = {name: state[f"{name}_seconds"] for name in ("compile", "score", "train", "test")}
    return {
        "method": result.method.name,
        "settings": dict(result.method.settings),
        "complete": result.complete,
        "steps": result.steps,
        **_winner(problem, winner),
        "test_accuracy": None if state["test"] is None else state["test"]["accuracy"],
        "seconds": result.seconds,
        "timing": timing,
        "device": device(),
        "versions": versions(),
        **problem.identity(),
        "counts": _counts(listed),
        "null_model": _null_model(problem, listed, winner),
        "candidates": listed,
        **({"rounds": state["rounds"], "left": state["live"]} if "rounds" in state else {}),
    }


def _candidate(problem: AnyProblem, candidate: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in candidate.items() if name != "training"}
    genotype = problem.space.parse(candidate["genotype"])
    flat |= {"canonical": str(problem.space.canonical(genotype)), "parameters": problem.parameters(genotype)}
    if (training := candidate["training"]) is not None:
        flat["validation_accuracy"] = training["validation_accuracy"]
        flat["training"] = {name: training[name] for name in ("status", "seconds", "compile_seconds")}
        flat["curves"] = training["curves"]
    return flat


def _winner(problem: AnyProblem, winner: Mapping[str, Any] | None) -> dict[str, Any]:
    if winner is None:
        return dict.fromkeys(("genotype", "canonical", "parameters", "macs", "validation_accuracy"))
    named = {name: winner[name] for name in ("genotype", "canonical", "parameters")}
    return {
        **named,
        "macs": problem.macs(problem.space.parse(winner["genotype"])),
        "validation_accuracy": winner.get("validation_accuracy"),
    }


def _counts(listed: list[dict[str, Any]]) -> dict[str, int]:
    statuses = Counter(candidate["status"] for candidate in listed)
    trainings = [candidate["training"]["status"] for candidate in listed if "training" in candidate]
    named = {name: statuses[name] for name in (*STATUSES, "unscored")}
    return {"sampled": len(listed), **named, "trained": len(trainings), "diverged": trainings.count("diverged")}


def _null_model(problem: AnyProblem, listed: list[dict[str, Any]], winner: Mapping[str, Any] | None) -> dict[str, Any]:
    finite = [candidate for candidate in listed if candidate["status"] == "ok"]
    scores = np.asarray([problem.sign * candidate["score"] for candidate in finite], float)
    sizes = np.asarray([candidate["parameters"] for candidate in finite], float)
    correlation = metrics.spearman(scores, sizes)
    return {
        "winner_rank_by_parameters": None
        if winner is None
        else 1 + sum(candidate["parameters"] > winner["parameters"] for candidate in listed),
        "spearman_score_parameters": correlation.value,
        "spearman_status": correlation.status,
    }
