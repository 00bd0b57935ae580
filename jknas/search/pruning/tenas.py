"""TE-NAS: prune a supernet, operation by operation, by condition number of its tangent kernel and its number of linear regions.

In each round every removal of an operation that is left is measured. The removals are ordered by how much the condition number falls and,
separately, by how few regions are lost; those with the smallest sum of both places go, the same number on every edge. Where nodes keep two
edges only (DARTS), whole edges are removed in the same way at last.

Two variants, which differ in this:

====================  ===============================================  =============================================================
                      ``paper``                                        ``released``
====================  ===============================================  =============================================================
initialisation        He normal (fan-out for the kernel, fan-in thin)  PyTorch's default: the option's name is misspelt in the code
draws                 weights, images and patches anew each repeat     weights once per round (thin: per removal), for all repeats;
                                                                       images and patches anew each repeat of each removal
change                before - after, the mean of the repeats          (before - after) / before, rounded to three decimals
images of a kernel    32                                               72 (NAS-Bench-201), 14 (DARTS)
patches               5,000                                            3,000
absent operation      competes (NAS-Bench-201)                         removed beforehand
pruned per round      1 operation of every edge                        1 (NAS-Bench-201) or 3 (DARTS; 2 with 24 images for ImageNet)
no condition number   infinite                                         as it comes: may be negative; NaN is 1e5
last edges (DARTS)    against the supernet as it is                    kernel against the supernet before any edge was removed
====================  ===============================================  =============================================================

Both measure three times.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, Algorithm 1, and its released code, github.com/VITA-Group/TENAS (``prune_launch.py``, ``prune_tenas.py``).

Deviations from both: the paper does not say over what its images are cropped for the thin network, so both variants take the released
code's patches of 3x3 pixels. That code walks through the training images from one region count to the next; here every count draws anew.
Its final cell is not trained; here it can be.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from jknas.errors import SearchError, choose
from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, check_count, option
from jknas.search.pruning.measure import PATCHES, Job, Measure
from jknas.search.pruning.removals import Found, Live, Measured, Ranked, Removal, Rows, mean, prune, rank, removals, without
from jknas.search.state import Candidate, State
from jknas.search.steps import train_or_test, training_progress
from jknas.spaces.pruning import PruningPlan

if TYPE_CHECKING:
    from jknas.search.pruning.measuring import Measurer
    from jknas.search.pruning.supernets import Supernet

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "change": "absolute",
        "draws": "repeat",
        "schemes": ("he_normal_out", "he_normal"),
        "batch": 32,
        "samples": 5000,
        "pruned": 1,
    },
    "released": {
        "change": "relative",
        "draws": "removal",
        "schemes": ("pytorch", "pytorch"),
        "batch": None,
        "samples": 3000,
        "pruned": None,
    },
}
"""What the variants set; None is what the released code sets for the space."""

_KEPT_EDGES = 2


@dataclass(frozen=True)
class Round:
    """What a round of pruning did.

    Attributes:
        kind: "operations" or "edges".
        live: the operations left before the round.
        condition: mean condition number of the supernet before the round.
        regions: mean number of its linear regions.
        ranked: its removals, the first to go first.
        removed: those that went.
    """

    kind: str
    live: Rows
    condition: float
    regions: float
    ranked: tuple[Ranked, ...]
    removed: tuple[Removal, ...]


@dataclass(frozen=True, kw_only=True)
class PruningState(State):
    """The state of a search by pruning.

    Attributes:
        live: the operations left.
        planned: how many removals the whole search measures.
        before: what was found of the supernet as it is; None before it is measured.
        measured: the removals of this round that are measured.
        rounds: the finished rounds.
    """

    live: Rows
    planned: int
    before: Found | None = None
    measured: tuple[Measured, ...] = ()
    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TeNas(SearchMethod[PruningState]):
    """The pruning search.

    Cost: for each removal of each round ``repeats`` kernels and region counts of a tiny supernet, and as many again of the supernet as it
    is, once per round (``draws="repeat"``) or once per removal. Four compilations, two of them only of the drawing of weights.

    Attributes:
        variant: "paper" or "released", see the module's text.
        statistics: "batch": the kernel of the whole batch in training mode, N backward passes. "example": every image normalised by
            itself: another kernel, from one backward pass.
        repeats: measurements of each removal.
        batch: images of a kernel; the variant's number by default.
        samples: patches of a region count, a multiple of 1,000; the variant's number by default.
        pruned: operations that an edge loses per round; the variant's number by default.
        draws: "repeat" or "removal": what the removals of a round share, see the module's text; the variant's by default.
        at_once: removals measured in one call (one kernel after the other for 1, which suits a CPU). Only with ``draws="repeat"``.
        train: train the found cell by the problem's recipe, and test it.

    Raises:
        SearchError: an impossible setting.
    """

    name: ClassVar[str] = "tenas"
    state: ClassVar[type[State]] = PruningState
    workers: ClassVar[str] = "measure the removals of a round"

    variant: str = option("paper", "paper or released")
    statistics: str = option("batch", "batch, or example, which is far quicker")
    draws: str | None = option(None, "repeat or removal", usually="as the variant")
    batch: int | None = option(None, "examples that the proxy sees", name="--batch")
    repeats: int = 3
    samples: int | None = None
    pruned: int | None = option(None, "operations that an edge loses per round", usually="as the variant")
    at_once: int = 1
    train: bool = False

    def __post_init__(self) -> None:
        choose("variant of tenas", self.variant, tuple(VARIANTS), error=SearchError)
        choose("statistics", self.statistics, ("batch", "example"), error=SearchError)
        if self.draws is not None:
            choose("kind of draws", self.draws, ("repeat", "removal"), error=SearchError)
        for name in ("repeats", "batch", "samples", "pruned", "at_once"):
            if (value := getattr(self, name)) is not None:
                check_count(name, value)
        if self.samples is not None and self.samples % PATCHES:
            raise SearchError(f"samples is {self.samples}; expected a multiple of {PATCHES}, the patches that are normalised together.")
        if self.at_once > 1 and self._set("draws") == "removal":
            raise SearchError(f"at_once is {self.at_once}, but removals that draw their own images are measured one by one: leave it at 1.")

    def _set(self, name: str) -> Any:
        """Return a setting, or what the variant sets in its place."""
        own = getattr(self, name, None)
        return VARIANTS[self.variant][name] if own is None else own

    def init(self, problem: SearchProblem) -> PruningState:  # noqa: D102
        if problem.images is None:
            raise SearchError("tenas measures supernets on images, and a table has none: search a data set, and look the found cell up.")
        net = _supernet(problem)
        batch, count = self._measure(net).batch, len(problem.images.y_train)
        if not 2 <= batch <= count:
            raise SearchError(
                f"a kernel of {batch} images was asked for; {problem.images.name} has {count} to train on: choose batch 2..{count}."
            )
        plan = net.plan
        starts = {*plan.order, *((plan.absent,) if self.variant == "paper" and plan.absent_competes else ())}
        row = tuple(operation in starts for operation in range(len(problem.space.operations)))
        left, planned = sum(row), sum(len(group) for group in _groups(plan))
        while left > 1:
            planned += left * len(plan.edges)
            left -= self._each(plan, left)
        return PruningState(live=(row,) * len(plan.edges), planned=planned)

    def step(self, evaluator: Evaluator, state: PruningState) -> PruningState:
        """Measure the next removals; when all of the round are measured, prune."""
        problem = evaluator.problem
        plan: PruningPlan = problem.space.pruning
        waiting = _removals(plan, state)
        if not waiting:
            return train_or_test(evaluator, state)
        measurer: Measurer = evaluator.made("supernet", lambda: self._measurer(evaluator))
        measurement = evaluator.compute(measurer, self._jobs(state, waiting))
        state = replace(
            self._measured(measurement.found, state, waiting),
            compile_seconds=state.compile_seconds + measurement.compile_seconds,
            score_seconds=state.score_seconds + measurement.seconds,
        )
        return self._pruned(plan, state) if len(state.measured) == len(waiting) else state

    def progress(self, state: PruningState) -> Completion:  # noqa: D102
        if state.chosen:
            return training_progress(state)
        return Completion("prune", sum(len(one.ranked) for one in state.rounds) + len(state.measured), state.planned)

    def finished(self, state: PruningState) -> bool:  # noqa: D102
        return state.test is not None if self.train else state.chosen is not None

    def report(self, problem: SearchProblem, state: PruningState) -> dict[str, Any]:
        """Return the rounds, and which operations are left."""
        names = problem.space.operations

        def plain(one: Ranked) -> dict[str, Any]:
            found = {**one._asdict(), "removal": list(one.removal)}
            return {**found, "operation": names[one.removal.operation], "score": one.score}

        rounds = [
            {
                **{field.name: getattr(one, field.name) for field in dataclasses.fields(one)},
                "live": [list(row) for row in one.live],
                "ranked": [plain(removal) for removal in one.ranked],
                "removed": [list(removal) for removal in one.removed],
            }
            for one in state.rounds
        ]
        return {"rounds": rounds, "left": [list(row) for row in state.live]}

    def _measure(self, net: "Supernet") -> Measure:
        return Measure(
            statistics=self.statistics,  # type: ignore[arg-type]
            repeats=self.repeats,
            batch=self._set("batch") or net.batch,
            samples=self._set("samples"),
            draws=self._set("draws"),
            schemes=self._set("schemes"),
            unguarded=self.variant == "released",
            at_once=self.at_once,
        )

    def _measurer(self, evaluator: Evaluator) -> "Measurer":
        from jknas.search.pruning.measuring import Measurer  # noqa: PLC0415 - modules of methods import no JAX

        problem, net = evaluator.problem, _supernet(evaluator.problem)
        told = lambda program: evaluator.announce(f"supernet {program}")  # noqa: E731
        return Measurer(net, problem.images, self._measure(net), seed=problem.seed, on_compile=told)

    def _each(self, plan: PruningPlan, left: int) -> int:
        """Return how many of ``left`` operations an edge loses in a round."""
        return min(self._set("pruned") or plan.pruned, left - 1)

    def _jobs(self, state: PruningState, waiting: Sequence[Removal]) -> Iterator[Job]:
        """Yield the measurements that are left of the round, one per step: of the supernet as it is, and of its removals."""
        stage, live, apart = len(state.rounds), state.live, self._set("draws") == "removal"
        # The released code leaves the kernel's supernet as it was before any edge was removed, for all groups of edges.
        settled = (one.live for one in state.rounds if one.kind == "edges")
        as_it_is = (next(settled, live) if self.variant == "released" else live, live)
        if not apart and state.before is None:
            yield Job(stage, 0, (as_it_is,))
        for at in range(len(state.measured), len(waiting), self.at_once):
            removed = ((without(live, [one]),) * 2 for one in waiting[at : at + self.at_once])
            yield Job(stage, at, ((as_it_is,) if apart else ()) + tuple(removed))

    def _measured(self, found: Sequence[Found], state: PruningState, waiting: Sequence[Removal]) -> PruningState:
        """Return the state with what the next measurement found."""
        before, results = state.before, found
        if self._set("draws") == "removal" or before is None:
            before, *results = found
        measured = (Measured(removal, *result, *before) for removal, result in zip(waiting[len(state.measured) :], results, strict=False))
        return replace(state, before=before, measured=(*state.measured, *measured))

    def _pruned(self, plan: PruningPlan, state: PruningState) -> PruningState:
        """Prune what the round has found, and begin the next one or, at the end, name the cell that is left."""
        live, measured, group = state.live, state.measured, _group(plan, state)
        ranked = tuple(rank(measured, change=VARIANTS[self.variant]["change"]))
        gone = prune(ranked, each=self._each(plan, sum(live[0]))) if group is None else [one.removal for one in ranked[:-_KEPT_EDGES]]
        condition = mean([value for one in measured for value in one.condition_before])
        regions = mean([value for one in measured for value in one.regions_before])
        done = Round("operations" if group is None else "edges", live, condition, regions, ranked, tuple(gone))
        state = replace(state, rounds=(*state.rounds, done), live=without(live, gone), before=None, measured=())
        if _removals(plan, state):
            return state
        genotype = plan.genotype([row.index(True) if any(row) else -1 for row in state.live])
        return replace(state, candidates=(Candidate(genotype),), winner=0, chosen=(0,) if self.train else ())


def _supernet(problem: Any) -> "Supernet":
    from jknas.search.pruning.supernets import supernet  # noqa: PLC0415 - modules of methods import no JAX

    return supernet(problem.space, classes=problem.images.num_classes, input_channels=problem.images.channels)


def _groups(plan: PruningPlan) -> list[tuple[int, ...]]:
    """Return the groups of edges from which some have to go."""
    return [group for cell in plan.kept or () for group in cell if len(group) > _KEPT_EDGES]


def _group(plan: PruningPlan, state: PruningState) -> tuple[int, ...] | None:
    """Return the group whose edges are now removed, or None in a round that removes operations."""
    done, groups = sum(one.kind == "edges" for one in state.rounds), _groups(plan)
    return groups[done] if _is_settled(state.live) and done < len(groups) else None


def _is_settled(live: Live) -> bool:
    return all(sum(row) <= 1 for row in live)


def _removals(plan: PruningPlan, state: PruningState) -> list[Removal]:
    """Return the removals of this round; none at the end."""
    group = _group(plan, state)
    order = (plan.absent, *plan.order)  # where the absent operation does not compete, it is not live and so not listed
    return removals(state.live, plan.edges if group is None else group, order=order, last=group is not None)
