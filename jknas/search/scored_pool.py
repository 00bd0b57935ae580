"""The scores of a store, for a search on a table."""

from typing import Any

from jknas import spaces
from jknas.errors import SearchError
from jknas.scoring.store import ScoreRecord, Store

_SHOWN = 6


def scored_pool(
    store: Store,
    *,
    proxy: str,
    space: str = "nasbench201",
    dataset: str | None = None,
    seed: int | None = None,
    settings: str | None = None,
) -> dict[Any, ScoreRecord]:
    """Return the scores of one proxy by genotype.

    Args:
        store: where `jknas score --db` or `jknas.scoring.scorer.score_many` has left them.
        proxy: its name.
        space: the search space.
        dataset: on which images, as :attr:`jknas.scoring.store.ScoreKey.dataset` or what stands before its "@"; None where the store has
        one only.
        seed: of the weights and the batch; None likewise.
        settings: the proxy's settings as :attr:`jknas.scoring.store.ScoreKey.settings`; None likewise.

    Raises:
        SearchError: no such score, or scores that were not measured in one and the same way; the message lists the ways.
    """
    found: dict[tuple[str, str, int, str], dict[Any, ScoreRecord]] = {}
    parse = spaces.get(space).parse
    for record in store.records(space=space, proxy=proxy, seed=seed, settings=settings):
        key = record.key
        if dataset is None or dataset in (key.dataset, key.dataset.partition("@")[0]):
            way = (key.dataset, key.settings, key.seed, key.network)
            found.setdefault(way, {})[parse(key.genotype)] = record
    wanted = f"proxy {proxy!r} on " + ("any data set" if dataset is None else repr(dataset))
    if not found:
        raise SearchError(f"{store.path} holds no score of {wanted}: score architectures with `jknas score --db` first.")
    if len(found) > 1:
        ways = [f"{len(scores)} on {data}, seed {seed}, {settings}, {network}" for (data, settings, seed, network), scores in found.items()]
        shown = "; ".join(ways[:_SHOWN]) + ("; ..." if len(ways) > _SHOWN else "")
        raise SearchError(f"{store.path} holds scores of {wanted} that cannot be compared: {shown}. Name the data set, seed and settings.")
    return next(iter(found.values()))
