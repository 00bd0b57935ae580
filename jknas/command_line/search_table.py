"""``jknas search --table``: search a table of trained accuracies, and draw how the search went on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jknas.command_line import options
from jknas.errors import CommandError

_TIMES = 400  # points of a curve


def table_problem(
    dataset: str,
    method: Any,
    *,
    folder: Path | None,
    accounting: str | None,
    ranking: Any,
    space: Any,
    db: Path | None,
    table_of_scores: Path | None,
    seed: int,
    unused: Mapping[str, Any],
) -> Any:
    """Return the problem of a search on a table.

    Args:
        dataset: of the table.
        method: the method; those that rank need scores.
        folder: of the table.
        accounting: what an evaluation costs; None for the usual one.
        ranking: the proxy, or the aggregate, whose scores rank.
        space: the space that the command names.
        db: the store that holds them.
        table_of_scores: or the table of scores that does.
        seed: of the search.
        unused: by name the options that say something about images and training; all have to be None.

    Raises:
        CommandError: an option that means nothing here, or no store for a method that ranks.
    """
    from jknas import tabular
    from jknas.ranking.aggregates import Aggregate
    from jknas.scoring.score_table import read_scores
    from jknas.scoring.store import Store
    from jknas.search import TableProblem, measured_in, scored_pool

    options.refuse(unused, "with --table, where nothing is trained: leave it out.")
    table = tabular.load(folder)
    if space.name != table.space:
        raise CommandError(f"--space {space.name} does not apply with --table, which is of {table.space}: leave it out.")
    given: dict[str, Any] = {"table": table, "dataset": dataset, "seed": seed}
    if accounting is not None:
        given["accounting"] = accounting
    given |= {"aggregate": ranking} if isinstance(ranking, Aggregate) else {"proxy": ranking}
    names = ranking.members if isinstance(ranking, Aggregate) else (ranking.name,)
    if table_of_scores is not None:
        read = read_scores(table_of_scores)
        every = method.proxy == "mixes"
        if every and read.unknown:
            raise CommandError(
                f"{table_of_scores} has scores of {', '.join(read.unknown)}, which jknas does not know: leave these columns out."
            )
        return TableProblem(**given, measured=measured_in(read, space=space, names=read.proxies if every else names))
    if method.proxy not in ("ranks", "mixes"):
        if db is not None:
            raise CommandError(
                f"--db does not apply: --method {method.name} ranks by no scores, and nothing is scored on a table; leave it out."
            )
        return TableProblem(**{name: value for name, value in given.items() if name != "aggregate"})
    if db is None or not db.exists():
        raise CommandError(
            f"--method {method.name} ranks by scores, and a table has none: name a table of scores with --scores, or the store of "
            "`jknas score --db` with --db."
        )
    with Store(db) as store:
        if method.proxy == "mixes":
            names = tuple(sorted({name for name, known, *_ in store.counted("proxy", "space") if known == space.name}))
        elif not isinstance(ranking, Aggregate):
            return TableProblem(**given, scores=scored_pool(store, proxy=ranking.name, space=space))
        found = {name: scored_pool(store, proxy=name, space=space) for name in names}
    return TableProblem(**given, measured={name: _larger_is_better(name, records) for name, records in found.items()})


def _larger_is_better(name: str, records: Mapping[Any, Any]) -> dict[Any, float]:
    from jknas import proxies

    sign = 1.0 if proxies.get(name).higher_is_better else -1.0
    return {genotype: sign * record.score if record.status == "ok" else float("nan") for genotype, record in records.items()}


def draw_course(result: Any, place: Path, *, title: str) -> None:
    """Write search.svg and search.png: the incumbent's test accuracy against the cost of the search, where there is an incumbent."""
    import numpy as np

    from jknas.report.anytime_drawing import draw_anytime
    from jknas.search.anytime import band, curve_of
    from jknas.search.sequential import SequentialState

    problem, reports = result.problem, result.problem.protocol.reports
    if not isinstance(result.state, SequentialState) or not result.state.chosen:
        return  # it does not evaluate one after the other, or has not begun

    def tested(genotype: Any) -> float:
        found = problem.table.accuracy(genotype, dataset=reports.dataset, split=reports.split, epochs=reports.epochs, seeds="mean")
        return float(found.mean) / 100

    curve = curve_of(result.state, tested)
    course = {result.method.name: band([curve], np.linspace(0.0, curve.seconds[-1], _TIMES))}
    for suffix in ("svg", "png"):
        draw_anytime(course, place / f"search.{suffix}", title=title)


def looked_up(record: Mapping[str, Any], space: Any) -> dict[str, Any]:
    """Return what the embedded table says of the cells of a supernet's epochs, as arguments of the drawing; nothing for other spaces.

    The accuracies are those on the data set that was searched, and on CIFAR-10 where the table does not know it.
    """
    from jknas import tabular

    table = tabular.load()
    if table.space != space.name:
        return {}
    name = record["dataset"]["name"]
    protocol = tabular.PROTOCOLS[name if name in tabular.PROTOCOLS else "cifar10"]
    cells = [space.parse(one["cell"]) for one in record["supernet"]]
    found = [table.accuracy(cell, **protocol.reports._asdict(), seeds="mean").mean / 100 for cell in cells]
    return {"accuracies": found, "of_what": f"trained on {protocol.reports.dataset} (from the table)"}
