"""What the searches by weight sharing have in common: a supernet is trained epoch by epoch, and after each of them a cell is derived.

A step of the search is one epoch. What the supernet has learned is kept in the search's folder (:mod:`.arrays`), the state holds the rest.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jknas.errors import SearchError, choose
from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, option
from jknas.search.state import Candidate, State
from jknas.search.steps import train_or_test, training_progress
from jknas.search.weight_sharing.recipe import SharingRecipe
from jknas.search.weight_sharing.state import SharingState

if TYPE_CHECKING:
    from jax import Array

    from jknas.search.weight_sharing.arrays import Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates, SharingRun, Totals

KEEPS = ("last", "best")
_SPREAD = 1e-3  # standard deviation of the first logits


@dataclass(frozen=True, kw_only=True)
class WeightSharing(SearchMethod[SharingState]):
    """A search by weight sharing.

    A method gives ``recipes`` and ``iterate``, and what else differs from a softmax over logits whose largest ones are the cell.

    Attributes:
        recipe: one of the method's recipes by name: "published" (NAS-Bench-201), "nats" (NATS-Bench), "small" (two CPU cores), and of some
            methods "darts" (the DARTS space, for which ``jknas search`` takes it where no recipe is given).
        own_recipe: a recipe in its place.
        epochs: in place of the recipe's.
        batch_size: likewise.
        candidates: likewise.
        keep: "last": the cell of the last epoch. "best": of the cells of all epochs the one that trains best, as KNAS's comparison has it;
            with ``train`` alone.
        train: train the cell by the problem's recipe, and test it.

    Raises:
        SearchError: an unknown recipe or an impossible setting.
    """

    state: ClassVar[type[State]] = SharingState
    workers: ClassVar[str] = "train the cells of all epochs, with --keep best"
    recipes: ClassVar[Mapping[str, SharingRecipe]]

    recipe: str = option(
        "published", "how the supernet is trained: published, darts, nats or small (for two cores)", name="--supernet-recipe"
    )
    own_recipe: SharingRecipe | None = None
    epochs: int | None = option(None, "epochs of the supernet", usually="the recipe's")
    batch_size: int | None = option(None, "images of a step of the supernet", name="--supernet-batch", usually="the recipe's")
    candidates: int | None = None
    keep: str = option("last", "the cell of the last epoch, or of all epochs the best when trained (--train-epochs): last or best")
    train: bool = False

    def __post_init__(self) -> None:
        choose(f"recipe of {self.name}", self.recipe, tuple(self.recipes), error=SearchError)
        choose("cell to keep", self.keep, KEEPS, error=SearchError)
        if self.keep == "best" and not self.train:
            raise SearchError("keep is 'best', which compares trained cells: train them (--train-epochs), or keep the 'last' one.")
        self.made  # noqa: B018 - refuses what the recipe refuses

    @property
    def uses_workers(self) -> bool:
        """Whether more than one cell is trained: the supernet is trained step by step."""
        return self.keep == "best"

    @property
    def made(self) -> SharingRecipe:
        """The recipe, with the settings that were given in place of its own."""
        base = self.recipes[self.recipe] if self.own_recipe is None else self.own_recipe
        given = {name: getattr(self, name) for name in ("epochs", "batch_size", "candidates")}
        return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name, those of the recipe as the method uses them."""
        kept = {name: value for name, value in super().settings.items() if name not in {"recipe", "own_recipe", *self.made.as_dict()}}
        return {"recipe": self.recipe if self.own_recipe is None else "own", **kept, **self.made.as_dict()}

    # ---- to be given

    def initial(self, net: "Supernet", key: "Array") -> Any:
        """Draw what the architecture is learned by, a pytree of floats: here the logits of the operations, by edge."""
        from jax.random import normal  # noqa: PLC0415 - modules of methods import no JAX

        return _SPREAD * normal(key, (net.edges, net.operations))

    def draw(self, net: "Supernet", shared: "Shared", key: "Array") -> Any:
        """Draw what an iteration needs by chance: here nothing."""
        del net, shared, key
        return ()

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Do one iteration."""
        raise NotImplementedError

    @property
    def draws_per_cell(self) -> bool:
        """Whether every cell of the supernet draws its operations by itself."""
        return False

    def finish_epoch(self, net: "Supernet", shared: "Shared", run: "SharingRun", key: "Array") -> "Shared":
        """Do what comes at the end of an epoch."""
        del net, run, key
        return shared

    def propose(self, net: "Supernet", shared: "Shared", key: "Array") -> np.ndarray | None:
        """Return the codes ``[n, edges]`` of the cells to compare; None derives the cell from the weights."""
        del net, shared, key
        return None

    def weights(self, shared: "Shared", proposed: np.ndarray | None) -> np.ndarray | None:
        """Return the weights of the operations ``[edges, operations]``; None where there are none."""
        del proposed
        from jax.nn import softmax  # noqa: PLC0415 - modules of methods import no JAX

        return np.asarray(softmax(shared.architecture))

    # ---- the search

    def init(self, problem: SearchProblem) -> SharingState:  # noqa: D102
        if problem.images is None:
            raise SearchError(
                f"{self.name} trains a supernet on images, and a table has none: search a data set, and look the found cell up."
            )
        from jknas.search.weight_sharing.supernet import check_problem, supernet_of  # noqa: PLC0415 - modules of methods import no JAX

        check_problem(problem, self.name)
        supernet_of(problem, self.made, per_cell=self.draws_per_cell)
        return SharingState()

    def step(self, evaluator: Evaluator, state: SharingState) -> SharingState:
        """Train the supernet for one epoch and derive a cell; when all are done, train or test cells."""
        if len(state.epochs) == self.made.epochs:
            return train_or_test(evaluator, state)
        from jknas.search.weight_sharing.training import SharingRun  # noqa: PLC0415 - modules of methods import no JAX

        run: SharingRun = evaluator.made("supernet", lambda: SharingRun(self, evaluator, finished=len(state.epochs)))
        compiled, clock = run.compile_seconds, time.perf_counter()
        found = run.epoch(len(state.epochs))
        compiling = run.compile_seconds - compiled
        spent = time.perf_counter() - clock - compiling
        cells = [candidate.genotype for candidate in state.candidates]
        if found.cell not in cells:
            cells.append(found.cell)
        state = replace(
            state,
            epochs=(*state.epochs, replace(found, seconds=spent)),
            candidates=tuple(map(Candidate, cells)),
            winner=cells.index(found.cell),
            compile_seconds=state.compile_seconds + compiling,
            score_seconds=state.score_seconds + spent,
        )
        if len(state.epochs) < self.made.epochs or not self.train:
            return state
        return replace(state, chosen=tuple(range(len(cells))) if self.keep == "best" else (cells.index(found.cell),), winner=None)

    def progress(self, state: SharingState) -> Completion:  # noqa: D102
        if state.chosen:
            return training_progress(state)
        return Completion("supernet", len(state.epochs), self.made.epochs)

    def finished(self, state: SharingState) -> bool:  # noqa: D102
        return state.test is not None if self.train else len(state.epochs) == self.made.epochs

    def remark(self, state: SharingState) -> str:
        """Return the losses and the cell of the last epoch."""
        if not state.epochs or state.chosen:
            return ""
        last = state.epochs[-1]
        shown = [f"loss {last.loss:.3f}", f"accuracy {last.accuracy:.3f}"]
        if last.architecture_loss is not None:
            shown.append(f"architecture loss {last.architecture_loss:.3f}")
        if last.candidate_accuracy is not None:
            shown.append(f"best of a batch {last.candidate_accuracy:.3f}")
        return f"epoch {len(state.epochs)}: {', '.join(shown)}, {last.cell}"

    def report(self, problem: SearchProblem, state: SharingState) -> dict[str, Any]:
        """Return what every epoch gave."""
        del problem
        return {"supernet": [{**dataclasses.asdict(one), "cell": str(one.cell)} for one in state.epochs]}
