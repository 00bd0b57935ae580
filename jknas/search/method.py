"""What a search method is, and what it may ask of the world.

A method is a frozen dataclass. Its fields are its hyper-parameters; :func:`option` gives a field an option of ``jknas search``. Its three
functions are pure: ``init(problem)`` makes the first state, ``step(evaluator, state)`` returns the next one, ``progress(state)`` says how
far the search is. :mod:`jknas.search.registry` finds the class by itself. The modules of methods import no JAX, so that ``--help`` is
quick: a method that computes imports what it needs when it runs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from jknas import errors
from jknas.errors import SearchError
from jknas.search.measured import Measured
from jknas.search.state import Part, State, Tested, Trained

if TYPE_CHECKING:
    from jknas.data import Dataset
    from jknas.ranking.aggregates import Aggregate
    from jknas.spaces.space import Space

S = TypeVar("S", bound=State)
T = TypeVar("T")
J = TypeVar("J")
R = TypeVar("R")


class Completion(NamedTuple):
    """How far a search is: its phase (:class:`jknas.search.Event`), the phase's finished units, and all its units."""

    phase: str
    completed: int
    total: int


class Scored(NamedTuple):
    """A score as a step gets it.

    Attributes:
        score: the number; None where the parts make it, once the sample is complete.
        status: what it means, one of :data:`jknas.scoring.record.STATUSES`.
        seconds: time of its computation.
        fresh: whether it was computed now, and not read from a store.
        compile_seconds: time of the compilation that it needed.
        parts: the scores that are ranked together; none where there is one only.
    """

    score: float | None
    status: str
    seconds: float
    fresh: bool = False
    compile_seconds: float = 0.0
    parts: tuple[Part, ...] = ()


@runtime_checkable
class SearchProblem(Protocol):
    """What is searched. :class:`jknas.search.Problem` trains networks, :class:`jknas.search.TableProblem` looks them up."""

    @property
    def space(self) -> "Space[Any]":
        """Where the architectures come from."""

    @property
    def seed(self) -> int:
        """Everything that is drawn follows from it."""

    @property
    def sign(self) -> int:
        """1 where a higher score is better, otherwise -1."""

    @property
    def aggregate(self) -> "Aggregate | None":
        """What ranks the architectures in place of a proxy."""

    @property
    def score_seeds(self) -> int:
        """By how many seeds architectures are scored; their ranks are averaged."""

    @property
    def images(self) -> "Dataset | None":
        """The images, for methods that measure or train networks themselves; None on a table."""

    @property
    def measured(self) -> Measured | None:
        """The scores of several proxies for a pool, for methods that mix them; None where there are none."""

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever a result may."""

    def rungs(self, published: Sequence[int]) -> tuple[int | None, ...]:
        """Return for how many epochs an architecture is trained at every rung of a successive halving.

        Args:
            published: the epochs of the published rungs, rising.

        Returns:
            As many numbers, rising; None for a rung that cannot be had.
        """

    def check_training(self) -> None:
        """Refuse a recipe by which the networks cannot be trained."""

    def parameters(self, genotype: Any) -> int:
        """Return the number of trainable parameters of an architecture's network."""

    def macs(self, genotype: Any) -> float:
        """Return the multiply-accumulates of an architecture's network for one image."""

    def evaluator(
        self,
        *,
        folder: Path | None = None,
        on_compile: Callable[[str], None] | None = None,
        on_epoch: Callable[[Any, Any], None] | None = None,
    ) -> "Evaluator":
        """Return what answers the steps of one search in this process.

        Args:
            folder: where trainings keep their progress; None keeps none.
            on_compile: called with the name of a program before it is compiled.
            on_epoch: called with genotype and :class:`jknas.training.EpochRecord` after each epoch of training.
        """


class Evaluator:
    """What a step may ask for. Nothing here decides a result: whatever a new process has forgotten is computed again to the same value.

    :class:`jknas.search.evaluator.TrainingEvaluator` computes, :class:`jknas.search.table.TableEvaluator` looks up.

    Args:
        problem: what is searched, a :class:`SearchProblem`.
    """

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        self._made: dict[str, Any] = {}

    def expect_scores(self, genotypes: Sequence[Any], members: Sequence[str] | None = None) -> None:
        """Say which architectures will be scored next, in this order, so that workers can begin with them. Decides no result.

        Args:
            genotypes: the architectures.
            members: as for :meth:`score`.
        """

    @property
    def looks_ahead(self) -> bool:
        """Whether workers wait to be told which trainings come next."""
        return False

    def expect_trainings(self, genotypes: Sequence[Any], *, epochs: int | None = None) -> None:
        """Say which architectures will be trained next, in this order; decides no result.

        Args:
            genotypes: the architectures; none says that those told before are not asked for any more.
            epochs: as for :meth:`train`.
        """

    def compute(self, function: Callable[[J], R], jobs: Iterable[J]) -> R:
        """Return what a function makes of the first of some jobs; the others say what comes next, so that workers can begin with it.

        Args:
            function: picklable, and its result follows from the job alone.
            jobs: picklable and comparable; the next call may pass the same ones without the first.
        """
        return function(next(iter(jobs)))

    def score(self, genotype: Any, members: Sequence[str] | None = None) -> Scored:
        """Score an architecture with the problem's proxy, or with the named ones of its aggregate's members; all for None."""
        raise NotImplementedError

    def train(self, genotype: Any, *, epochs: int | None = None) -> Trained:
        """Train an architecture, or look its training up.

        Args:
            genotype: the architecture.
            epochs: in place of the problem's own number, one that ``problem.rungs`` names.
        """
        raise NotImplementedError

    def test(self, genotype: Any) -> Tested:
        """Return the reported accuracy of a trained architecture."""
        raise NotImplementedError

    def made(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when it was first asked for under this name: compiled programs of a method of its own."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def folder(self, name: str) -> Path | None:
        """Return the folder of what a method keeps between processes; None where nothing is kept."""
        del name
        return None

    def announce(self, program: str) -> None:
        """Say that a program is about to be compiled."""

    def keep_only(self, genotype: Any) -> None:
        """Forget what is kept of every other architecture; of all for None."""

    def variables(self, genotype: Any) -> Any:
        """Return the trained variables of an architecture that is kept; None where nothing is trained."""


@dataclass(frozen=True, kw_only=True)
class SearchMethod(Generic[S]):
    """A search method with its hyper-parameters.

    Attributes:
        name: under which it is registered.
        state: the record of its states.
        proxy: what the problem's proxy is to it: it "ranks" the architectures, is one of many that it "mixes", or "" where it has no use.
        workers: what workers do ahead of it, in words that follow "workers"; "" where every step depends on the one before.
    """

    name: ClassVar[str]
    state: ClassVar[type[State]] = State
    proxy: ClassVar[str] = ""
    workers: ClassVar[str] = ""

    @property
    def uses_workers(self) -> bool:
        """Whether workers have anything to do, with these settings."""
        return bool(self.workers)

    @property
    def trains(self) -> bool:
        """Whether architectures are trained by the problem's recipe, with these settings."""
        return bool(getattr(self, "train", True))

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}

    def init(self, problem: SearchProblem) -> S:
        """Return the first state.

        Raises:
            SearchError: the method cannot search this problem; nothing expensive was computed.
        """
        raise NotImplementedError

    def step(self, evaluator: Evaluator, state: S) -> S:
        """Do one unit of work. The same state gives the same next state, times apart; the old one stays as it was."""
        raise NotImplementedError

    def progress(self, state: S) -> Completion:
        """Return how far the phase of the next step is."""
        raise NotImplementedError

    def finished(self, state: S) -> bool:
        """Return whether no step is left."""
        return state.test is not None

    def remark(self, state: S) -> str:
        """Return what a person is told after a step; nothing by default."""
        del state
        return ""

    def report(self, problem: SearchProblem, state: S) -> dict[str, Any]:
        """Return what the record of a search (:mod:`jknas.search.result`) holds of this method alone, as plain data."""
        del problem, state
        return {}


def option(default: Any, text: str, *, name: str | None = None, also: str | None = None, usually: str | None = None, **special: Any) -> Any:
    """Return a dataclass field that ``jknas search`` offers as an option.

    Args:
        default: of the field.
        text: the help; methods that share an option share its text.
        name: of the option; ``--`` and the field's name by default.
        also: a second option that sets the same field.
        usually: the default as the help names it, where the value does not say it.
        **special: other defaults of the command line: ``when_training`` where networks are trained and not looked up, ``when_timed`` where
            ``--budget-seconds`` is given, so that seconds alone are the limit.
    """
    return dataclasses.field(default=default, metadata={"help": text, "name": name, "also": also, "usually": usually, **special})


def check_count(name: str, value: Any, *, most: int | None = None, of: str = "") -> None:
    """Raise SearchError unless ``value`` is a whole number from 1 to ``most``; ``of`` says what limits it."""
    errors.check_count(name, value, error=SearchError)
    if most is not None and value > most:
        raise SearchError(f"{name} is {value}, and {of}: choose 1..{most}.")


def check_seed(seed: Any) -> None:
    """Raise SearchError unless ``seed`` is a whole number from 0 to 2^32 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise SearchError(f"seed is {seed!r}; expected a whole number from 0 to 2^32 - 1.")
