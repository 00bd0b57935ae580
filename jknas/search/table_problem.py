"""Search without training: what a search searches when every answer stands in a table.

A :class:`TableProblem` is the second kind of problem under the one driver. It and :class:`jknas.search.problem.Problem` share what methods
and records ask for (``space``, ``seed``, ``sign``, ``identity()``, ``parameters``, ``macs``) and nothing else: a table has no images, no
network and no recipe, and a search on images has no accounting, so one class for both would be half empty in either use. Methods see the
difference only through the evaluator that the driver makes: it answers ``train`` with a row of the table instead of a training, and the
seconds of that answer are what the evaluation would have cost on the benchmark's machine. The simulated clock of a search is therefore the
same number as the clock of a real one, the sum of the training seconds, and limits on it are the method's own in both.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jknas import proxies, spaces, tabular
from jknas.errors import SearchError, choose
from jknas.proxies import Proxy
from jknas.scoring.store import ScoreRecord
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.pool import restricted
from jknas.spaces.space import Space
from jknas.tabular import PROTOCOLS, Table
from jknas.tabular.accounting import ACCOUNTINGS

SEEDS = ("mean", "one")


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
        scores: its scores, see :func:`jknas.search.scored_pool.scored_pool`; the search is then confined to the architectures in it.

    Raises:
        SearchError: an unknown choice, or a seed out of range.
    """

    table: Table
    dataset: str
    seed: int
    accounting: str = "twelve-epochs"
    seeds: str = "mean"
    proxy: Proxy = field(default_factory=lambda: proxies.get("mgm"))
    scores: Mapping[CellGenotype, ScoreRecord] | None = None

    def __post_init__(self) -> None:
        choose("data set of a search on a table", self.dataset, tuple(PROTOCOLS), error=SearchError)
        choose("accounting", self.accounting, tuple(ACCOUNTINGS), error=SearchError)
        choose("way to read seeds", self.seeds, SEEDS, error=SearchError)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise SearchError(f"seed is {self.seed!r}; expected a whole number from 0 to 2^32 - 1.")
        if self.scores is not None and not self.scores:
            raise SearchError("scores is empty: score architectures first (`jknas score --db`), or pass None.")

    @cached_property
    def space(self) -> Space[Any]:
        """Where the architectures come from: the table's space, or what of it is scored."""
        whole = spaces.get(self.table.space)
        return whole if self.scores is None else restricted(whole, tuple(self.scores))

    @property
    def protocol(self) -> tabular.SearchProtocol:
        """By which accuracy a search chooses, and which one is reported."""
        return PROTOCOLS[self.dataset]

    @property
    def sign(self) -> int:
        """1 where a higher score is better, otherwise -1."""
        return 1 if self.proxy.higher_is_better else -1

    def parameters(self, genotype: CellGenotype) -> int:
        """Return the number of trainable parameters of the published network."""
        return self.table.parameters(genotype, dataset=self.protocol.reports.dataset)

    def macs(self, genotype: CellGenotype) -> float:
        """Return the multiply-accumulates of the published network for one image."""
        return self.table.macs(genotype, dataset=self.protocol.reports.dataset)

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever a result may."""
        named = {"name": self.dataset, "source": self.table.name}
        protocol = {part: list(target) for part, target in self.protocol._asdict().items()}
        identity = {"space": self.space.name, "dataset": named, "protocol": protocol, "accounting": self.accounting, "seeds": self.seeds}
        scored = None if self.scores is None else {"name": self.proxy.name, "scored": len(self.scores), "digest": self._digest}
        return {**identity, "proxy": scored, "seed": self.seed}

    @cached_property
    def _digest(self) -> str:
        lines = (f"{genotype} {record.score!r} {record.status}" for genotype, record in (self.scores or {}).items())
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
