"""Run a search method: step by step, within a budget, with a checkpoint after each step.

An interruption (an exception, Ctrl-C, a killed process) costs at most the step in flight; with a checkpoint folder, a training in flight
loses at most one epoch. Running again with ``resume=True`` ends in the same result as a run that was never interrupted, times apart.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jknas.errors import SearchError
from jknas.files.lock import sole_user
from jknas.search import checkpoint as disk
from jknas.search.method import Evaluator, SearchMethod, SearchProblem
from jknas.search.state import Candidate, State


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop before the method is finished; None is no limit. Resumed runs count together.

    Attributes:
        steps: steps of the method: architectures scored, trained or tested, and removals measured (of samples of more than 200, a step
            scores several architectures).
        seconds: wall-clock time; looked at between steps.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "seconds"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
                raise SearchError(f"the budget's {name} is {value!r}; expected a number, 0 or more, or None for no limit.")

    def spent(self, steps: int, seconds: float) -> bool:
        """Return whether no further step may begin."""
        return (self.steps is not None and steps >= self.steps) or (self.seconds is not None and seconds >= self.seconds)


@dataclass(frozen=True)
class Event:
    """Something happened in a search.

    Attributes:
        kind: "begin", "compile", "epoch", "step" or "end".
        phase: "score", "prune" (TE-NAS measures removals), "supernet" (weight sharing counts epochs), "train", "simulate" (a search on a
            table counts seconds) or "test".
        completed: finished units of the phase.
        total: units of the phase.
        detail: "compile": ``program``. "epoch": ``genotype`` and ``record`` (an `EpochRecord`). "step": ``remark``, for a person, or "".
            Otherwise empty.
    """

    kind: str
    phase: str
    completed: int
    total: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        method: which method, with which settings.
        problem: what it searched.
        state: the last state, see :class:`jknas.search.state.State`.
        complete: whether the method came to its end; otherwise the budget did.
        steps: steps taken, those before a resume included.
        seconds: wall-clock time, likewise.
        evaluator: what answered the steps; ``evaluator.variables(genotype)`` are the winner's trained weights.
    """

    method: SearchMethod[Any]
    problem: SearchProblem
    state: Any
    complete: bool
    steps: int
    seconds: float
    evaluator: Evaluator = field(repr=False)

    @property
    def winner(self) -> Candidate | None:
        """The best candidate, None while there is none."""
        return _winner(self.state)


def first_state(method: SearchMethod[Any], problem: SearchProblem) -> Any:
    """Return the state in which a method begins; nothing expensive is computed.

    Raises:
        SearchError: the method cannot search this problem.
        TrainingError: it trains, and the problem's networks cannot be trained by its recipe.
    """
    state = method.init(problem)
    if method.trains:
        problem.check_training()
    return state


def run(
    method: SearchMethod[Any],
    problem: SearchProblem,
    *,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    budget: Budget | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> SearchResult:
    """Search.

    Args:
        method: from :func:`jknas.search.get`, with its settings.
        problem: what to search.
        checkpoint: folder for the state and for trainings in flight, of this search alone; None keeps nothing.
        resume: go on from the folder's state, or begin when there is none.
        budget: when to stop early; a later run with ``resume`` and a larger budget goes on.
        on_event: is told what happens.

    Returns:
        The result; `jknas.search.result.as_record` makes it a record for a file.

    Raises:
        TrainingError: the networks cannot be trained by the problem's recipe (before anything is computed).
        SearchError: the method's settings do not fit the problem (likewise), or the folder holds another search's state,
            a damaged one, or any although ``resume`` is false, or is used by another process.
    """
    budget = budget or Budget()
    folder = None if checkpoint is None else Path(checkpoint)
    if resume and folder is None:
        raise SearchError("resume=True needs checkpoint=..., the folder that holds the state.")
    first = first_state(method, problem)  # before anything is written
    with nullcontext() if folder is None else sole_user(folder, error=SearchError):
        return _run(method, problem, first, folder, resume=resume, budget=budget, on_event=on_event)


def _run(
    method: SearchMethod[Any],
    problem: SearchProblem,
    state: Any,
    folder: Path | None,
    *,
    resume: bool,
    budget: Budget,
    on_event: Callable[[Event], None] | None,
) -> SearchResult:
    identity = {"method": method.name, "settings": dict(method.settings), **problem.identity()}
    steps, before = 0, 0.0
    if resume and folder is not None:
        state, steps, before = disk.read(folder, method.state, identity, problem.space.parse) or (state, steps, before)
    elif folder is not None and (folder / disk.STATE_FILE).exists():
        raise SearchError(f"the folder {folder} already holds a search: go on from it with resume=True (--resume), or give another folder.")

    def tell(kind: str, **detail: Any) -> None:
        if on_event is not None:
            on_event(Event(kind, *method.progress(state), detail))

    evaluator = problem.evaluator(
        folder=None if folder is None else folder / "training",
        on_compile=lambda program: tell("compile", program=program),
        on_epoch=lambda genotype, record: tell("epoch", genotype=genotype, record=record),
    )
    start, seconds = time.perf_counter(), before
    tell("begin")
    while not method.finished(state) and not budget.spent(steps, seconds):
        state, steps = method.step(evaluator, state), steps + 1
        seconds = before + time.perf_counter() - start
        if folder is not None:
            disk.write(folder, disk.Checkpoint(state, steps, seconds), identity)
        # Only now: before the state is on disk, the folder of a finished training is what saves it.
        best = _winner(state)
        evaluator.keep_only(None if best is None else best.genotype)
        tell("step", remark=method.remark(state))
    tell("end")
    return SearchResult(method, problem, state, method.finished(state), steps, seconds, evaluator)


def _winner(state: State) -> Candidate | None:
    return None if state.winner is None else state.candidates[state.winner]
