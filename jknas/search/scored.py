"""The scores that searches on a table rank by: of a store, or of a table of scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jknas import proxies
from jknas.errors import SearchError
from jknas.networks.families import network_of_size
from jknas.proxies import SizeProxy
from jknas.ranking.combinations import mean_rank
from jknas.scoring.score_table import ScoreTable
from jknas.scoring.store import ScoreRecord, Store
from jknas.search.measured import Measured
from jknas.spaces.space import Space

_SHOWN = 6


def scored_pool(
    store: Store,
    *,
    proxy: str,
    space: Space[Any],
    dataset: str | None = None,
    seed: int | None = None,
    settings: str | None = None,
) -> dict[Any, ScoreRecord]:
    """Return the scores of one proxy by genotype.

    Args:
        store: where `jknas score --db` or `jknas.scoring.scorer.score_many` has left them.
        proxy: its name.
        space: the search space, as :attr:`TableProblem.space`.
        dataset: on which images, as :attr:`jknas.scoring.store.ScoreKey.dataset` or its part before the "@"; None where the store has one
            only.
        seed: of the weights and the batch; None likewise.
        settings: the proxy's settings as :attr:`jknas.scoring.store.ScoreKey.settings`; None likewise.

    Raises:
        SearchError: no such score, or scores that were not measured in one and the same way; the message lists the ways.
    """
    found: dict[tuple[str, str, int, str], dict[Any, ScoreRecord]] = {}
    revision = proxies.get(proxy).revision
    for record in store.records(space=space.name, proxy=proxy, seed=seed, settings=settings, revision=revision):
        key = record.key
        if dataset is None or dataset in (key.dataset, key.dataset.partition("@")[0]):
            way = (key.dataset, key.settings, key.seed, key.network)
            found.setdefault(way, {})[space.parse(key.genotype)] = record
    wanted = f"proxy {proxy!r} on " + ("any data set" if dataset is None else repr(dataset))
    if not found:
        raise SearchError(
            f"{store.path} holds no score of {wanted} by its present definition (revision {revision}): score architectures with "
            "`jknas score --db` first."
        )
    if len(found) > 1:
        ways = [f"{len(scores)} on {data}, seed {seed}, {settings}, {network}" for (data, settings, seed, network), scores in found.items()]
        shown = "; ".join(ways[:_SHOWN]) + ("; ..." if len(ways) > _SHOWN else "")
        raise SearchError(f"{store.path} holds scores of {wanted} that cannot be compared: {shown}. Name the data set, seed and settings.")
    return next(iter(found.values()))


def counts(proxy: SizeProxy, table: ScoreTable, space: Space[Any], genotypes: Sequence[Any]) -> Float[np.ndarray, " n"]:
    """Return what a size proxy says of architectures, in networks of the size that a table of scores is about."""
    network, resolution = network_of_size(space, table.facts["network"]), table.facts["network"]["resolution"]
    return np.array([proxy.count(space, genotype, network, resolution) for genotype in genotypes], np.float64)


def measured_in(table: ScoreTable, *, space: Space[Any], names: Sequence[str], seeds: Sequence[int] | None = None) -> Measured:
    """Return the scores that a table of scores holds, of every architecture of a space that can be enumerated.

    Args:
        table: from :func:`jknas.scoring.score_table.read_scores`.
        space: the search space.
        names: of the proxies; those that depend on the genotype alone are counted.
        seeds: which of a proxy's draws; several are averaged by their ranks in the table, so that a pool drawn from it knows the others.
            None for the lowest.

    Raises:
        StoreError: the table lacks a proxy, a seed or an architecture.
    """
    genotypes = tuple(space.enumerate())
    lines, found = table.lines(space, genotypes), {}
    for name in names:
        proxy = proxies.get(name)
        if isinstance(proxy, SizeProxy):
            dead = [space.is_dead(genotype) for genotype in genotypes]
            sign = 1 if proxy.higher_is_better else -1
            values = np.where(dead, np.nan, sign * counts(proxy, table, space, genotypes))
        else:
            chosen = table.seeds(name)[:1] if seeds is None else seeds
            values = mean_rank([table.column(name, seed) for seed in chosen])[lines]
        found[name] = dict(zip(genotypes, values.tolist(), strict=True))
    return found
