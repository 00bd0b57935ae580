"""TE-NAS: prune a supernet, operation by operation, by condition number of its tangent kernel and its number of linear regions.

In each round every removal of an operation that is left is measured. The removals are ordered by how much the condition number falls and,
separately, by how few regions are lost; those with the smallest sum of both places go, the same number on every edge. Where nodes keep two
edges only (DARTS), whole edges are removed in the same way at last.

Two variants, which differ in this:

====================  ===============================================  =============================================================
                      ``paper``                                        ``released``
====================  ===============================================  =============================================================
initialisation        He normal (fan-out for the kernel, fan-in thin)  PyTorch's default: the option's name is misspelt in the code
draws                 weights, images and patches anew each repeat     weights once a round (thin: once a removal), for all repeats;
                                                                       images and patches anew each repeat of each removal
change                before - after, the mean of the repeats          (before - after) / before, rounded to three decimals
images of a kernel    32                                               72 (NAS-Bench-201), 14 (DARTS)
patches               5,000                                            3,000
absent operation      competes (NAS-Bench-201)                         removed beforehand
no condition number   infinite                                         as it comes: may be negative; NaN is 1e5
last edges (DARTS)    against the supernet as it is                    kernel against the supernet before any edge was removed
====================  ===============================================  =============================================================

Both measure three times and prune 1 (NAS-Bench-201) or 3 (DARTS) operations an edge and round.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, Algorithm 1, and its released code, github.com/VITA-Group/TENAS (``prune_launch.py``, ``prune_tenas.py``).

Deviations from both: the paper does not say over what its images are cropped for the thin network, so both variants take the released
code's patches of 3x3 pixels. That code walks through the training images from one region count to the next; here every count draws anew.
Its final cell is not trained; here it can be.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jknas.errors import SearchError, choose
from jknas.search import candidates as c
from jknas.search.evaluator import AnyEvaluator, Evaluator
from jknas.search.method import Method, Progress, State
from jknas.search.phases import beginning, is_tested, train_or_test, training_progress
from jknas.search.problem import AnyProblem, Problem
from jknas.search.pruning.measuring import PATCHES, Found, Measure, Measurer
from jknas.search.pruning.removals import Live, Measured, Ranked, Removal, prune, rank, removals, without
from jknas.search.pruning.supernets import Supernet, supernet

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"change": "absolute", "draws": "repeat", "schemes": ("he_normal_out", "he_normal"), "batch": 32, "samples": 5000},
    "released": {"change": "relative", "draws": "removal", "schemes": ("pytorch", "pytorch"), "batch": None, "samples": 3000},
}
"""What the variants set; a batch of None is that of the space."""

_KEPT_EDGES = 2


def tenas(
    *,
    variant: str = "paper",
    statistics: str = "batch",
    repeats: int = 3,
    batch: int | None = None,
    samples: int | None = None,
    pruned: int | None = None,
    draws: str | None = None,
    at_once: int = 1,
    train: bool = False,
) -> Method:
    """Return the pruning search.

    Cost: for each removal of each round ``repeats`` kernels and region counts of a tiny supernet, and as many again of the supernet as it
    is, once a round (``draws="repeat"``) or once a removal. Four compilations, two of them of nothing but the drawing of weights.

    Args:
        variant: ``"paper"`` or ``"released"``, see the module's text.
        statistics: ``"batch"``: the kernel of the whole batch in training mode, N backward passes. ``"example"``: every image normalised by
            itself: another kernel, from one backward pass.
        repeats: measurements of each removal.
        batch: images of a kernel; the variant's number by default.
        samples: patches of a region count, a multiple of 1,000; the variant's number by default.
        pruned: operations that an edge loses a round; the space's number by default.
        draws: ``"repeat"`` or ``"removal"``: what the removals of a round share, see the module's text; the variant's by default.
        at_once: removals measured in one call (one kernel after the other for 1, which suits a CPU). Only with ``draws="repeat"``.
        train: train the found cell by the problem's recipe, and test it.
    """
    settings = {
        "variant": variant,
        "statistics": statistics,
        "repeats": repeats,
        "batch": batch,
        "samples": samples,
        "pruned": pruned,
        "draws": draws,
        "at_once": at_once,
        "train": train,
    }
    return Method(
        name="tenas",
        settings=settings,
        init=functools.partial(_init, settings=settings),
        step=functools.partial(_step, settings=settings),
        progress=_progress,
        finished=functools.partial(_finished, train=train),
    )


def _measure(net: Supernet, settings: Mapping[str, Any]) -> Measure:
    chosen = VARIANTS[settings["variant"]]
    return Measure(
        statistics=settings["statistics"],
        repeats=settings["repeats"],
        batch=settings["batch"] or chosen["batch"] or net.batch,
        samples=settings["samples"] or chosen["samples"],
        draws=settings["draws"] or chosen["draws"],
        schemes=chosen["schemes"],
        unguarded=settings["variant"] == "released",
        at_once=settings["at_once"],
    )


def _supernet(problem: Problem) -> Supernet:
    return supernet(problem.space.name, classes=problem.dataset.num_classes, input_channels=problem.dataset.channels)


def _init(problem: AnyProblem, *, settings: Mapping[str, Any]) -> State:
    if not isinstance(problem, Problem):
        raise SearchError("tenas measures supernets on images, and a table has none: search a data set, and look the found cell up.")
    choose("variant of tenas", settings["variant"], tuple(VARIANTS), error=SearchError)
    choose("statistics", settings["statistics"], ("batch", "example"), error=SearchError)
    if settings["draws"] is not None:
        choose("kind of draws", settings["draws"], ("repeat", "removal"), error=SearchError)
    for name in ("repeats", "batch", "samples", "pruned", "at_once"):
        value = settings[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise SearchError(f"{name} is {value!r}; expected a whole number, 1 or more.")
    net = _supernet(problem)
    measure = _measure(net, settings)
    if measure.samples % PATCHES:
        raise SearchError(f"samples is {measure.samples}; expected a multiple of {PATCHES}, the patches that are normalised together.")
    if measure.at_once > 1 and measure.draws == "removal":
        raise SearchError(f"at_once is {measure.at_once}, but removals that draw their own images are measured one by one: leave it at 1.")
    count = len(problem.dataset.y_train)
    if not 2 <= measure.batch <= count:
        raise SearchError(
            f"a kernel of {measure.batch} images was asked for; {problem.dataset.name} has {count} to train on: choose batch 2..{count}."
        )
    competes = settings["variant"] == "paper" and net.absent_competes
    row = [operation in net.order or (competes and operation == net.absent) for operation in range(len(problem.space.operations))]
    live = [row for _ in net.edges]
    beginnings = {**beginning(()), "live": live, "before": None, "measured": [], "rounds": []}
    return {**beginnings, "planned": _planned(net, live, settings)}


def _order(net: Supernet) -> tuple[int, ...]:
    return (net.absent, *net.order)  # where the absent operation does not compete, it is not live and so not listed


def _groups(net: Supernet) -> list[tuple[int, ...]]:
    """Return the groups of edges from which some have to go."""
    return [group for cell in net.kept or () for group in cell if len(group) > _KEPT_EDGES]


def _each(net: Supernet, left: int, settings: Mapping[str, Any]) -> int:
    """Return how many of ``left`` operations an edge loses in a round."""
    return min(settings["pruned"] or net.pruned, left - 1)


def _planned(net: Supernet, live: Live, settings: Mapping[str, Any]) -> int:
    """Return how many removals the whole search measures."""
    left, total = sum(live[0]), sum(len(group) for group in _groups(net))
    while left > 1:
        total += left * len(net.edges)
        left -= _each(net, left, settings)
    return total


def _is_settled(live: Live) -> bool:
    return all(sum(row) <= 1 for row in live)


def _group(net: Supernet, state: State) -> tuple[int, ...] | None:
    """Return the group whose edges are now removed, or None in a round that removes operations."""
    done = sum(entry["kind"] == "edges" for entry in state["rounds"])
    groups = _groups(net)
    return groups[done] if _is_settled(state["live"]) and done < len(groups) else None


def _plan(net: Supernet, state: State) -> list[Removal]:
    """Return the removals of this round; none at the end."""
    group = _group(net, state)
    return removals(state["live"], net.edges if group is None else group, order=_order(net), last=group is not None)


def _step(evaluator: AnyEvaluator, state: State, *, settings: Mapping[str, Any]) -> State:
    assert isinstance(evaluator, Evaluator)  # `_init` refused the others
    problem = evaluator.problem
    net = _supernet(problem)
    if not _plan(net, state):
        return train_or_test(evaluator, state)
    measure = _measure(net, settings)
    measurer: Measurer = evaluator.made(
        "supernet",
        lambda: Measurer(net, problem.dataset, measure, seed=problem.seed, on_compile=lambda what: evaluator.announce(f"supernet {what}")),
    )
    compiled, clock = measurer.compile_seconds, time.perf_counter()
    state = _measured(net, state, measurer, measure, settings)
    compiling = measurer.compile_seconds - compiled
    times = {
        "compile_seconds": state["compile_seconds"] + compiling,
        "score_seconds": state["score_seconds"] + time.perf_counter() - clock - compiling,
    }
    state = {**state, **times}
    return state if len(state["measured"]) < len(_plan(net, state)) or state["before"] is None else _settle(problem, net, state, settings)


def _measured(net: Supernet, state: State, measurer: Measurer, measure: Measure, settings: Mapping[str, Any]) -> State:
    """Measure the supernet as it is, or the next removals."""
    stage, live, plan = len(state["rounds"]), state["live"], _plan(net, state)
    # The released code leaves the kernel's supernet as it was before any edge was removed, for all groups of edges.
    settled = (entry["live"] for entry in state["rounds"] if entry["kind"] == "edges")
    reference = next(settled, live) if settings["variant"] == "released" else live
    at = len(state["measured"])
    if measure.draws == "repeat":
        if state["before"] is None:
            (found,) = measurer.measure(stage, 0, [(reference, live)])
            return {**state, "before": found._asdict()}
        before = Found(**state["before"])
        wanted = plan[at : at + measure.at_once]
        results = measurer.measure(stage, at, [(without(live, [removal]),) * 2 for removal in wanted])
    else:
        wanted = plan[at : at + 1]
        less = without(live, wanted)
        before, *results = measurer.measure(stage, at, [(reference, live), (less, less)])
        state = {**state, "before": before._asdict()}
    entries = [
        {"removal": list(removal), **result._asdict(), **{f"{name}_before": values for name, values in before._asdict().items()}}
        for removal, result in zip(wanted, results, strict=True)
    ]
    return {**state, "measured": [*state["measured"], *entries]}


def _settle(problem: Problem, net: Supernet, state: State, settings: Mapping[str, Any]) -> State:
    """Prune what the round has found, and begin the next one or, at the end, name the cell that is left."""
    live, group = state["live"], _group(net, state)
    ranked = rank([_as_measured(entry) for entry in state["measured"]], change=VARIANTS[settings["variant"]]["change"])
    gone = prune(ranked, each=_each(net, sum(live[0]), settings)) if group is None else [r.removal for r in ranked[:-_KEPT_EDGES]]
    entry = {
        "kind": "operations" if group is None else "edges",
        "live": live,
        "condition": _mean([value for m in state["measured"] for value in m["condition_before"]]),
        "regions": _mean([value for m in state["measured"] for value in m["regions_before"]]),
        "ranked": [_as_plain(r, problem) for r in ranked],
        "removed": [list(removal) for removal in gone],
    }
    left = without(live, gone)
    state = {**state, "rounds": [*state["rounds"], entry], "live": left, "before": None, "measured": []}
    if _plan(net, state):
        return state
    genotype = net.genotype([row.index(True) if any(row) else -1 for row in left])
    found = {**state, "candidates": [c.drawn(genotype)], "winner": 0}
    return {**found, "chosen": [0] if settings["train"] else []}


def _as_measured(entry: Mapping[str, Any]) -> Measured:
    names = ("condition", "regions", "condition_before", "regions_before")
    return Measured(Removal(*entry["removal"]), **{name: tuple(entry[name]) for name in names})


def _as_plain(ranked: Ranked, problem: Problem) -> dict[str, Any]:
    plain = ranked._asdict() | {"removal": list(ranked.removal), "operation": problem.space.operations[ranked.removal.operation]}
    return {**plain, "score": ranked.score}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _finished(state: State, *, train: bool) -> bool:
    return is_tested(state) if train else state["chosen"] is not None


def _progress(state: State) -> Progress:
    if state["chosen"]:
        return training_progress(state)
    done = sum(len(entry["ranked"]) for entry in state["rounds"]) + len(state["measured"])
    return Progress("prune", done, state["planned"])
