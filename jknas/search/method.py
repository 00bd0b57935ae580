"""What a search method is: a pair ``(init, step)`` on plain data, and how far it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jknas.search.evaluator import AnyEvaluator
from jknas.search.problem import AnyProblem

State = Mapping[str, Any]
"""The state of a search: None, bool, int, float (of any value) and str in lists and string-keyed mappings, so that it has a JSON text. A
step returns a new one and leaves the old one as it was. What every method's state holds:

``candidates``
    list of candidates, see :mod:`jknas.search.candidates`.
``winner``
    place of the chosen candidate in that list, or None while there is none.
``test``
    ``{"accuracy", "loss", "n"}`` of the winner on the test split, or None before the end.
``chosen``
    places of the candidates to train, or None before they are chosen; those trained so far where each choice waits for the last training
    (:mod:`jknas.search.trials`).
``compile_seconds``, ``score_seconds``, ``train_seconds``, ``test_seconds``
    where the time went; on a table the training seconds are those of its accounting.
"""


class Progress(NamedTuple):
    """How far a search is: the phase in one word, and how many of its units are done."""

    phase: str
    completed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Method:
    """A search method with its hyper-parameters fixed.

    Attributes:
        name: under which it is registered.
        settings: the hyper-parameters, as plain data.
        init: ``init(problem) -> state``; refuses what cannot work with a `SearchError` before anything expensive.
        step: ``step(evaluator, state) -> state``: one unit of work. The same state gives the same next state, times apart.
        progress: ``progress(state) -> Progress`` of the next step.
        finished: whether no step is left.
    """

    name: str
    settings: Mapping[str, Any]
    init: Callable[[AnyProblem], State]
    step: Callable[[AnyEvaluator, State], State]
    progress: Callable[[State], Progress]
    finished: Callable[[State], bool]
