"""``jknas search --table``: search a table of trained accuracies, and draw how the search went on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jknas.errors import CommandError

_TIMES = 400  # points of a curve


def table_problem(
    dataset: str, method: Any, *, folder: Path | None, accounting: str, proxy: Any, db: Path | None, seed: int, unused: Mapping[str, Any]
) -> Any:
    """Return the problem of a search on a table.

    Args:
        dataset: of the table.
        method: the method; those that rank need scores.
        folder: of the table.
        accounting: what an evaluation costs.
        proxy: whose scores rank.
        db: the store that holds them.
        seed: of the search.
        unused: by name the options that say something about images and training; all have to be None.

    Raises:
        CommandError: an option that means nothing here, or no store for a method that ranks.
    """
    from jknas import spaces, tabular
    from jknas.scoring.store import Store
    from jknas.search import TableProblem, scored_pool

    for option, value in unused.items():
        if value is not None:
            raise CommandError(f"--{option.replace('_', '-')} does not apply with --table, where nothing is trained: leave it out.")
    scores = None
    table = tabular.load(folder)
    if method.proxy == "ranks":
        if db is None or not db.exists():
            raise CommandError(
                f"--method {method.name} ranks by scores, and a table has none: name the store of `jknas score --db` with --db."
            )
        with Store(db) as store:
            scores = scored_pool(store, proxy=proxy.name, space=spaces.get(table.space))
    return TableProblem(table=table, dataset=dataset, seed=seed, accounting=accounting, proxy=proxy, scores=scores)


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
