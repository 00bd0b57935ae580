"""Run a search method: step by step, within a budget, with a checkpoint after each step.

An interruption (an exception, Ctrl-C, a killed process) costs at most the step in flight; of a training in flight at most an epoch, with a
checkpoint folder. Running again with ``resume=True`` ends in the same result as a run that was never interrupted, times apart: with a
folder, every state passes through its JSON text before the next step sees it. Without one it does not (a search of a table takes a hundred
steps in a few milliseconds); states are plain data, which come back from their text as they were, so that both give the same.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jknas.errors import SearchError
from jknas.files.json_text import read_json, write_json
from jknas.search import checkpoint as disk
from jknas.search.evaluator import AnyEvaluator, Evaluator
from jknas.search.method import Method, State
from jknas.search.problem import AnyProblem
from jknas.search.table_evaluator import TableEvaluator
from jknas.search.table_problem import TableProblem


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop before the method is finished; None is no limit. Resumed runs count together.

    Attributes:
        steps: steps of the method: architectures scored or trained (of samples of more than 200, a scoring step takes several).
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
        phase: "score", "train" or "test".
        completed: finished units of the phase.
        total: units of the phase.
        detail: "compile": ``program``. "epoch": ``genotype`` and ``record`` (an `EpochRecord`). Otherwise empty.
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
        state: the last state, see :data:`jknas.search.method.State`.
        complete: whether the method came to its end; otherwise the budget did.
        steps: steps taken, those before a resume included.
        seconds: wall-clock time, likewise.
    """

    method: Method
    problem: AnyProblem
    state: State
    complete: bool
    steps: int
    seconds: float


def run(
    method: Method,
    problem: AnyProblem,
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
        SearchError: the method's settings do not fit the problem (before anything is computed), or the folder holds another search's state,
            a damaged one, or any although ``resume`` is false.
    """
    budget = budget or Budget()
    folder = None if checkpoint is None else Path(checkpoint)
    identity = {"method": method.name, "settings": dict(method.settings), **problem.identity()}
    plain = _as_it_is if folder is None else _as_read
    state = plain(method.init(problem))
    found = _restore(folder, identity, resume=resume)
    steps, before = (0, 0.0) if found is None else (found["steps"], found["seconds"])
    state = state if found is None else found["state"]
    start = time.perf_counter()

    def tell(kind: str, **detail: Any) -> None:
        if on_event is not None:
            on_event(Event(kind, *method.progress(state), detail))

    evaluator = _evaluator(problem, folder, tell)
    seconds = before
    tell("begin")
    while not method.finished(state) and not budget.spent(steps, seconds):
        state, steps = plain(method.step(evaluator, state)), steps + 1
        seconds = before + time.perf_counter() - start
        if folder is not None:
            disk.write(folder, {"identity": identity, "state": state, "steps": steps, "seconds": seconds})
        # Only now: before the state is on disk, the folder of a finished training is what saves it.
        if not isinstance(evaluator, TableEvaluator):
            evaluator.keep_only(_winner(problem, state))
        tell("step")
    tell("end")
    return SearchResult(method, problem, state, method.finished(state), steps, seconds)


def _evaluator(problem: AnyProblem, folder: Path | None, tell: Callable[..., None]) -> AnyEvaluator:
    if isinstance(problem, TableProblem):
        return TableEvaluator(problem)
    return Evaluator(
        problem,
        folder=None if folder is None else folder / "training",
        on_compile=lambda program: tell("compile", program=program),
        on_epoch=lambda genotype, record: tell("epoch", genotype=genotype, record=record),
    )


def _as_read(state: State) -> State:
    """Return the state as a resumed run would read it."""
    plain: State = read_json(write_json(state, "the state of the search"))
    return plain


def _as_it_is(state: State) -> State:
    return state


def _winner(problem: AnyProblem, state: State) -> Any:
    return None if state["winner"] is None else problem.space.parse(state["candidates"][state["winner"]]["genotype"])


def _restore(folder: Path | None, identity: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
    if folder is None:
        if resume:
            raise SearchError("resume=True needs checkpoint=..., the folder that holds the state.")
        return None
    if resume:
        return disk.read(folder, identity)
    if (folder / disk.STATE_FILE).exists():
        raise SearchError(f"the folder {folder} already holds a search: go on from it by resuming, or give another folder.")
    return None
