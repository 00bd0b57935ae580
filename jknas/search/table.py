"""A search problem whose evaluations are looked up in a table of trained accuracies.

Methods see no difference to :class:`jknas.search.problem.Problem`: the evaluator answers ``train`` with a row of the table, and the seconds
of that answer are what the evaluation would have cost on the benchmark's machine. The simulated time of a search is therefore the sum of
its training seconds, as the measured time of a real one is, and limits on it are the method's own in both.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jknas import proxies, spaces, tabular
from jknas.errors import SearchError, choose
from jknas.proxies import Proxy
from jknas.ranking.aggregates import Aggregate
from jknas.scoring.store import ScoreRecord
from jknas.search.measured import Measured, check_measured, identity_of
from jknas.search.method import Evaluator, Scored, check_seed
from jknas.search.pooled import is_pooled, status_of
from jknas.search.state import Part, Tested, Trained
from jknas.spaces.pool import restricted
from jknas.spaces.space import Space
from jknas.tabular import PROTOCOLS, Table, Target
from jknas.tabular.accounting import ACCOUNTINGS

SEEDS = ("mean", "one")

_IMAGES = {
    ("cifar10", "test"): 10_000,
    ("cifar100", "test"): 5_000,
    ("imagenet16-120", "test"): 3_000,
}
"""How many images a reported accuracy is a share of."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TableProblem:
    """A search problem whose evaluations are looked up.

    Attributes:
        table: from :func:`jknas.tabular.load`.
        dataset: "cifar10", "cifar100" or "imagenet16-120"; by :data:`jknas.tabular.PROTOCOLS` it says by which accuracy a search chooses
            and which one is reported, once, for the winner.
        seed: 0 to 2^32 - 1; everything that is drawn follows from it.
        accounting: what an evaluation costs, see :mod:`jknas.tabular.accounting`.
        seeds: "mean": a search sees the mean over the seeds that were trained. "one": one of them, drawn for each architecture, as in the
            published searches; for tables that hold single seeds.
        proxy: what ranked the architectures, for methods that rank.
        scores: its scores, see :func:`scored_pool`; the search is then confined to the architectures in it.
        aggregate: what ranks them in place of the proxy: several proxies, which ``measured`` holds.
        measured: the scores of several proxies for a pool (:mod:`jknas.search.measured`, :func:`jknas.search.scored.measured_in`), for an
            aggregate, for methods that mix them, and for the proxy where there are no ``scores``; a search that ranks by them is confined
            to these architectures.

    Raises:
        SearchError: an unknown choice, or a seed out of range.
    """

    table: Table
    dataset: str
    seed: int
    accounting: str = "twelve-epochs"
    seeds: str = "mean"
    proxy: Proxy = field(default_factory=lambda: proxies.get("mgm"))
    scores: Mapping[Any, ScoreRecord] | None = None
    aggregate: Aggregate | None = None
    measured: Measured | None = None
    score_seeds: ClassVar[int] = 1
    images: ClassVar[None] = None

    def __post_init__(self) -> None:
        choose("data set of a search on a table", self.dataset, tuple(PROTOCOLS), error=SearchError)
        choose("accounting", self.accounting, tuple(ACCOUNTINGS), error=SearchError)
        choose("way to read seeds", self.seeds, SEEDS, error=SearchError)
        check_seed(self.seed)
        if self.scores is not None and not self.scores:
            raise SearchError("scores is empty: score architectures first (`jknas score --db`), or pass None.")
        check_measured(self.measured)
        if self.aggregate is not None:
            lacking = [name for name in self.aggregate.members if name not in (self.measured or {})]
            if lacking:
                raise SearchError(f"{self.aggregate.name} ranks by {', '.join(lacking)}, which measured lacks: give their scores too.")

    @cached_property
    def space(self) -> Space[Any]:
        """Where the architectures come from: the table's space, or what of it is scored."""
        whole = spaces.get(self.table.space)
        scored = next(iter((self.measured or {}).values())) if self.ranking else self.scores
        return whole if scored is None else restricted(whole, tuple(scored))

    @property
    def protocol(self) -> tabular.SearchProtocol:
        """By which accuracy a search chooses, and which one is reported."""
        return PROTOCOLS[self.dataset]

    @property
    def sign(self) -> int:
        """1 where a higher score is better, otherwise -1."""
        return 1 if self.ranking or self.proxy.higher_is_better else -1

    @property
    def ranking(self) -> tuple[str, ...]:
        """The measured scores that rank; none where ``scores`` do, or nothing does."""
        if self.aggregate is not None:
            return self.aggregate.members
        return (self.proxy.name,) if self.scores is None and self.proxy.name in (self.measured or {}) else ()

    def evaluator(
        self,
        *,
        folder: Path | None = None,
        on_compile: Callable[[str], None] | None = None,
        on_epoch: Callable[[Any, Any], None] | None = None,
    ) -> "TableEvaluator":
        """Return what looks up for the steps of a search; nothing is compiled or kept."""
        del folder, on_compile, on_epoch
        return TableEvaluator(self)

    def rungs(self, published: Sequence[int]) -> tuple[int | None, ...]:
        """Return the published rungs, with None for those whose accuracy the table does not hold."""
        selects = self.protocol.selects
        held = {target.epochs for target in self.table.targets() if target._replace(epochs=0) == selects._replace(epochs=0)}
        return tuple(epochs if epochs in held else None for epochs in published)

    def check_training(self) -> None:
        """Nothing is trained."""

    def parameters(self, genotype: Any) -> int:
        """Return the number of trainable parameters of the published network."""
        return self.table.parameters(genotype, dataset=self.protocol.reports.dataset)

    def macs(self, genotype: Any) -> float:
        """Return the multiply-accumulates of the published network for one image."""
        return self.table.macs(genotype, dataset=self.protocol.reports.dataset)

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever a result may."""
        named = {"name": self.dataset, "source": self.table.name}
        protocol = {part: list(target) for part, target in self.protocol._asdict().items()}
        identity = {"space": self.space.name, "dataset": named, "protocol": protocol, "accounting": self.accounting, "seeds": self.seeds}
        scored: dict[str, Any] | None = None
        if self.scores is not None:
            scored = {"name": self.proxy.name, "scored": len(self.scores), "digest": self._digest}
        if self.ranking:
            ranked_by = self.proxy.name if self.aggregate is None else self.aggregate.name
            scored = {"name": ranked_by, **({} if self.aggregate is None else {"combination": str(self.aggregate.combination)})}
        return {**identity, "proxy": scored, "seed": self.seed, **self._measured_identity}

    @cached_property
    def _measured_identity(self) -> dict[str, Any]:
        return identity_of(self.measured)

    @cached_property
    def _digest(self) -> str:
        lines = (f"{genotype} {record.score!r} {record.status}" for genotype, record in (self.scores or {}).items())
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


class TableEvaluator(Evaluator):
    """What answers the steps of a search on a table."""

    def score(self, genotype: Any, members: Sequence[str] | None = None) -> Scored:
        """Look a score up.

        Args:
            genotype: the architecture.
            members: the proxies that are asked for, of those that rank; all for None.

        Raises:
            SearchError: the problem has none.
        """
        measured, scores = self.problem.measured, self.problem.scores
        if self.problem.ranking:
            values = [(name, measured[name][genotype]) for name in members or self.problem.ranking]
            parts = tuple(Part(name, 0, value, self._status(genotype, value)) for name, value in values)
            if is_pooled(self.problem):
                return Scored(None, status_of(parts), 0.0, parts=parts)
            return Scored(parts[0].value, parts[0].status, 0.0)
        if scores is None:
            raise SearchError("this method ranks architectures by a proxy, and the table holds no scores: pass the problem scores.")
        if genotype not in scores:
            raise SearchError(f"{genotype} is not among the {len(scores)} scored architectures: score it first.")
        return Scored(scores[genotype].score, scores[genotype].status, scores[genotype].seconds)

    def _status(self, genotype: Any, value: float) -> str:
        return "ok" if not math.isnan(value) else "dead" if self.problem.space.is_dead(genotype) else "non_finite"

    def train(self, genotype: Any, *, epochs: int | None = None) -> Trained:
        """Look up the accuracy by which a search chooses, or that after another number of epochs, and what it costs."""
        problem, selects = self.problem, self.problem.protocol.selects
        accounting = ACCOUNTINGS[problem.accounting]
        if epochs is None:
            seconds = accounting.seconds(problem.table, genotype, problem.dataset)
        else:
            selects = selects._replace(epochs=epochs)
            seconds = accounting.rung_seconds(problem.table, genotype, problem.dataset, epochs)
        return Trained("ok", self._accuracy(genotype, selects, single=problem.seeds == "one"), math.nan, seconds)

    def test(self, genotype: Any) -> Tested:
        """Look up the accuracy that is reported, a mean over seeds; it costs nothing."""
        target = self.problem.protocol.reports
        return Tested(self._accuracy(genotype, target, single=False), math.nan, _IMAGES[target.dataset, target.split], 0.0)

    def _accuracy(self, genotype: Any, target: Target, *, single: bool) -> float:
        # Drawn from the architecture, so that a step gives the same however often it is taken.
        seeds: Any = np.random.default_rng((self.problem.seed, *genotype.code)) if single else "mean"
        found = self.problem.table.accuracy(genotype, dataset=target.dataset, split=target.split, epochs=target.epochs, seeds=seeds)
        return found.mean / 100
