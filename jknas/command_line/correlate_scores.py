"""Where the scores of ``jknas correlate`` come from: computed on images, or read from a table of scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jknas.command_line import options
from jknas.errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    from jknas.proxies import Proxy
    from jknas.ranking.aggregates import Aggregate
    from jknas.scoring.score_table import ScoreTable
    from jknas.scoring.store import ScoreRecord
    from jknas.spaces import Space

NULL_MODELS = ("params", "macs", "conv_count")
RANDOM = "random"
USUAL = "mgm"


@dataclass
class Measured:
    """The scores of one pool of architectures.

    Attributes:
        draws: by proxy one array a seed: one number an architecture, larger is better, NaN where the status is not "ok".
        seconds: by proxy the median time of a score.
        statuses: by proxy how many scores of the first seed have each status other than "ok".
        groups: the number of convolutions of every architecture, where the space has one.
    """

    draws: "dict[str, list[np.ndarray]]" = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    groups: "np.ndarray | None" = None

    def ranked(self, pooled: "Iterable[Aggregate]", seed: int) -> "dict[str, np.ndarray]":
        """Return every score as numbers to rank by, several seeds averaged by rank, with the aggregates and a random score."""
        import numpy as np

        from jknas.ranking.aggregates import combine
        from jknas.ranking.combinations import mean_rank

        scores = {name: mean_rank(draws) for name, draws in self.draws.items()}
        count = len(next(iter(scores.values())))
        by_seed = {name: np.stack(draws) for name, draws in self.draws.items()}
        return scores | {one.name: combine(one, by_seed) for one in pooled} | {RANDOM: np.random.default_rng(seed).random(count)}

    def reliability(self, name: str, pooled: "Iterable[Aggregate]") -> float:
        """Return how well a score, or an aggregate of one seed, agrees with itself by other seeds; NaN of a single seed."""
        from jknas.ranking.aggregates import combine
        from jknas.ranking.correlation import reliability

        if name in self.draws:
            return reliability(self.draws[name])
        found = next((one for one in pooled if one.name == name), None)
        if found is None:
            return float("nan")
        seeds = max(len(self.draws[member]) for member in found.members)
        by_seed = ({member: self.draws[member][place % len(self.draws[member])] for member in found.members} for place in range(seeds))
        return reliability([combine(found, scores) for scores in by_seed])


def scores_named(texts: list[str], space: "Space[Any]") -> "tuple[list[Proxy], list[Aggregate]]":
    """Return every proxy that has to be scored, members and null models included, each once, and the aggregates."""
    from jknas import proxies
    from jknas.ranking import aggregates

    names = options.split(texts)
    if not names:
        raise CommandError(f"no proxy is named; choose among {', '.join((*proxies.names(), *aggregates.names()))}.")
    found = [aggregates.ranking(name) for name in names]
    pooled = [one for one in found if isinstance(one, aggregates.Aggregate)]
    single = [one.name for one in found if not isinstance(one, aggregates.Aggregate)]
    single += [member for one in pooled for member in one.members]
    null = [name for name in NULL_MODELS if name != "conv_count" or space.convolutions is not None]
    return [proxies.get(name) for name in dict.fromkeys([*single, *null])], pooled


def computed(records: "Iterable[ScoreRecord]", wanted: "Sequence[Proxy]") -> Measured:
    """Return the scores of records that come architecture by architecture, of each proxy and seed."""
    import numpy as np

    from jknas.ranking.correlation import ranking_scores, statuses

    found: dict[str, dict[int, list[ScoreRecord]]] = {}
    for record in records:
        found.setdefault(record.key.proxy, {}).setdefault(record.key.seed, []).append(record)
    measured = Measured()
    for proxy in wanted:
        by_seed = list(found[proxy.name].values())
        measured.draws[proxy.name] = [ranking_scores(listed, higher_is_better=proxy.higher_is_better) for listed in by_seed]
        measured.seconds[proxy.name] = float(np.median([record.seconds for listed in by_seed for record in listed]))
        measured.statuses[proxy.name] = statuses(by_seed[0])
        if proxy.name == "conv_count":
            measured.groups = np.array([int(record.score) for record in by_seed[0]])
    return measured


def looked_up(table: "ScoreTable", space: "Space[Any]", genotypes: Sequence[Any], wanted: "Sequence[Proxy]", seeds: int) -> Measured:
    """Return the scores that a table holds; what depends on the genotype alone is counted.

    Args:
        table: of the space.
        space: the search space.
        genotypes: the pool.
        wanted: proxies that the table has, or that are counted.
        seeds: how many of a proxy's seeds to use, the lowest first.

    Raises:
        StoreError: an architecture, a proxy or as many seeds are not in the table.
    """
    from collections import Counter

    import numpy as np

    from jknas.proxies import SizeProxy
    from jknas.search.scored import counts

    lines, measured = table.lines(space, genotypes), Measured()
    counted = [proxy for proxy in wanted if isinstance(proxy, SizeProxy)]
    for proxy in wanted:
        if proxy in counted:
            continue
        known = table.seeds(proxy.name)
        if len(known) < seeds:
            raise CommandError(f"--seeds {seeds}: {table.source} has {proxy.name} by {len(known)}; ask for at most as many.")
        measured.draws[proxy.name] = [table.column(proxy.name, seed)[lines] for seed in known[:seeds]]
        measured.seconds[proxy.name] = float(table.facts["columns"][f"{proxy.name}:{known[0]}"]["median_seconds"])
        status = table.statuses[proxy.name, known[0]]
        measured.statuses[proxy.name] = dict(sorted(Counter(status[line] for line in lines if status[line] != "ok").items()))
    dead = np.array([space.is_dead(genotype) for genotype in genotypes])
    for proxy in counted:
        values = counts(proxy, table, space, genotypes)
        if proxy.name == "conv_count":
            measured.groups = values.astype(int)
        measured.draws[proxy.name] = [np.where(dead, np.nan, values if proxy.higher_is_better else -values)]
        measured.seconds[proxy.name] = float("nan")
        measured.statuses[proxy.name] = {"dead": int(dead.sum())} if dead.any() else {}
    return measured
