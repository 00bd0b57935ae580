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
counts                                        sampled, by status (`jknas.scoring.record.STATUSES`, and unscored), trained, diverged
null_model                                    how the winner ranks by number of parameters alone among the sampled, and Spearman's
                                              correlation of score and number of parameters over the finite scores of live cells
candidates                                    in the order drawn: genotype, canonical, score, status, seconds, rank, parameters; of the
                                              trained ones validation_accuracy, curves, and training (status, seconds, compile_seconds)
rounds, left                                  of a pruning search alone: what was left, ranked and removed in every round, and
                                              what is left
supernet                                      of a search by weight sharing alone: what every epoch gave, its cell included
mixture                                       of robot alone: its proxies, the weights that it tried, and the best of them
rungs                                         of mf_nas alone: what every rung trained, for how many epochs, and how well
============================================  =======================================================================================

Seconds of a score that was read from a store are those of its computation. Non-finite numbers stay floats here; write the record with
`jknas.files.json_text.export_json`.
"""

from collections import Counter
from typing import Any

import numpy as np

from jknas.ranking import metrics
from jknas.scoring.environment import device, versions
from jknas.scoring.record import STATUSES
from jknas.search.driver import SearchResult
from jknas.search.method import SearchProblem
from jknas.search.state import UNSCORED, Candidate, State


def as_record(result: SearchResult) -> dict[str, Any]:
    """Return the record of a search, as plain data."""
    problem, state, winner = result.problem, result.state, result.winner
    sizes = [problem.parameters(candidate.genotype) for candidate in state.candidates]
    return {
        "method": result.method.name,
        "settings": dict(result.method.settings),
        "complete": result.complete,
        "steps": result.steps,
        **_winner(problem, winner),
        "test_accuracy": None if state.test is None else state.test.accuracy,
        "seconds": result.seconds,
        "timing": {name: getattr(state, f"{name}_seconds") for name in ("compile", "score", "train", "test")},
        "device": device(),
        "versions": versions(),
        **problem.identity(),
        "counts": _counts(state),
        "null_model": _null_model(problem, state, sizes),
        "candidates": [_candidate(problem, one, size) for one, size in zip(state.candidates, sizes, strict=True)],
        **result.method.report(problem, state),
    }


def _candidate(problem: SearchProblem, candidate: Candidate, size: int) -> dict[str, Any]:
    flat = {"genotype": str(candidate.genotype), **{name: getattr(candidate, name) for name in ("score", "status", "seconds", "rank")}}
    flat |= {"canonical": str(problem.space.canonical(candidate.genotype)), "parameters": size}
    if (training := candidate.training) is not None:
        flat["validation_accuracy"] = training.validation_accuracy
        flat["training"] = {name: getattr(training, name) for name in ("status", "seconds", "compile_seconds")}
        flat["curves"] = list(training.curves)
    return flat


def _winner(problem: SearchProblem, winner: Candidate | None) -> dict[str, Any]:
    if winner is None:
        return dict.fromkeys(("genotype", "canonical", "parameters", "macs", "validation_accuracy"))
    return {
        "genotype": str(winner.genotype),
        "canonical": str(problem.space.canonical(winner.genotype)),
        "parameters": problem.parameters(winner.genotype),
        "macs": problem.macs(winner.genotype),
        "validation_accuracy": None if winner.training is None else winner.training.validation_accuracy,
    }


def _counts(state: State) -> dict[str, int]:
    statuses = Counter(candidate.status for candidate in state.candidates)
    trainings = [candidate.training.status for candidate in state.candidates if candidate.training is not None]
    named = {name: statuses[name] for name in (*STATUSES, UNSCORED)}
    return {"sampled": len(state.candidates), **named, "trained": len(trainings), "diverged": trainings.count("diverged")}


def _null_model(problem: SearchProblem, state: State, sizes: list[int]) -> dict[str, Any]:
    finite = [
        (problem.sign * one.score, size)
        for one, size in zip(state.candidates, sizes, strict=True)
        if one.score is not None and one.status == "ok"
    ]
    scores, sizes_of_finite = np.asarray(finite, float).reshape(-1, 2).T
    correlation = metrics.spearman(scores, sizes_of_finite)
    rank = None if state.winner is None else 1 + sum(size > sizes[state.winner] for size in sizes)
    return {
        "winner_rank_by_parameters": rank,
        "spearman_score_parameters": correlation.value,
        "spearman_status": correlation.status,
    }
