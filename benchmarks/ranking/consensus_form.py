"""Which form of `consensus` ranks best where it may be chosen?

Question: which combination of `jacob_cov`, `synflow`, `meco`, `zen` and small `mgm` orders the cells of NAS-Bench-201 best, seen on the
CIFAR-10 accuracies of the cells of even index and the scores of one seed alone. What the form is worth elsewhere (cells of odd index, other
data sets, other seeds) is what `whole_space.py` reports.

Forms: stages. The first ranks all cells by a product of relative ranks with weights 0..3 of four scores (the eight best products by
Spearman and Kendall go on). The second orders the best part anew, among itself, by such a product with small MGM as a fifth (weights
0..2). Once these are chosen, a third one may order the few best by `synflow` and `zen`, which are known by then.

Rule: the sum of Spearman, Kendall, nDCG@1000 and Spearman in the top tenth, less the regret of the ten best, each in units of its standard
error over resampled cells: a plain sum follows the measure that is the noisiest. Of all forms within one standard error of the best, the
one whose second stage is the smallest, since it needs its scores of that part alone; among these, the best.

The family and the rule were drawn up when the figures of earlier forms on all cells and data sets were known; the choice among the forms
was made by what is named above alone.

Command: python -m benchmarks.ranking.consensus_form [--scores whole_space_scores.csv.gz]
About five minutes on one core. Writes consensus_form.json.
"""

import argparse
import itertools
import math
import pathlib
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.ranking.whole_space import MEASURES, Cells
from jknas.ranking import aggregates, metrics
from jknas.ranking.combinations import best_part, ranks, two_stage
from jknas.scoring.score_table import read_scores
from jknas.spaces.nasbench201.index import index_of

SCORES = ("jacob_cov", "synflow", "meco", "zen")
SECOND = (*SCORES, "-mgm")
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
THIRD, FEW = "log_rank(synflow,zen)", (0.0, 0.005, 0.01, 0.02, 0.03)
BASES = 8
FINALISTS = 250
RESAMPLES = 200
YARDSTICK = "two_stage(log_rank(jacob_cov,synflow,meco),log_rank(synflow,zen),0.2)"
"""The form whose standard errors are the units."""

REGRET = "regret@10"
SLOW = "kendall_tau_b"


def weights(most: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return all weights from 0 up to these, each direction once."""
    return [one for one in itertools.product(*(range(top + 1) for top in most)) if math.gcd(*one) == 1]


def product(names: tuple[str, ...], one: tuple[int, ...]) -> str:
    """Return a weighted product of relative ranks as an expression."""
    parts = (name if times == 1 else f"{times}*{name}" for name, times in zip(names, one, strict=True) if times)
    return f"log_rank({','.join(parts)})"


def measured(values: np.ndarray, accuracies: np.ndarray, *, without: str | None = None) -> dict[str, float]:
    """Return what the rule adds up, as it is."""
    found = {name: of(values, accuracies).value for name, of in MEASURES.items() if name != without}
    return found | {REGRET: -metrics.regret(values, accuracies, 10).value}


def resampled(values: np.ndarray, accuracies: np.ndarray) -> list[dict[str, float]]:
    """Return the measures on cells that are drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(values), len(values)) for _ in range(RESAMPLES))
    return [measured(values[places], accuracies[places]) for places in draws]


def merit(found: dict[str, float], units: dict[str, float]) -> float:
    """Return the sum of measures in their units."""
    return sum(value / units[name] for name, value in found.items())


def main() -> None:
    """Compare all forms, choose and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=pathlib.Path, default=measure.RESULTS / "ranking/whole_space_scores.csv.gz")
    cells = Cells(read_scores(parser.parse_args().scores), lambda genotype: index_of(genotype) % 2 == 0, (0,))
    scores, accuracies = cells.scores[0], cells.accuracies["cifar10"]
    scores = {**scores, "-mgm": -scores["mgm"]}
    draws = resampled(cells.ranked(YARDSTICK, 0), accuracies)
    units = {name: float(np.std([draw[name] for draw in draws])) for name in draws[0]}

    def logs(names: tuple[str, ...], part: Any = slice(None)) -> np.ndarray:
        """Return the logarithms of the relative ranks in a part of the cells, one row a score."""
        return np.stack([np.log(ranks(scores[name][part]) / len(scores[name][part])) for name in names])

    products = {one: np.asarray(one) @ logs(SCORES) for one in weights((3,) * len(SCORES))}
    first = sorted(
        products, key=lambda one: -merit({name: MEASURES[name](products[one], accuracies).value for name in ("spearman", SLOW)}, units)
    )[:BASES]
    seconds = weights((*(3,) * len(SCORES), 2))
    forms: list[tuple[float, tuple[int, ...], tuple[int, ...], float]] = []

    def judged(text: str) -> dict[str, Any]:
        found = measured(cells.ranked(text, 0), accuracies)
        return {"form": text, "merit": merit(found, units), **found, REGRET: -found[REGRET]}

    def ordered(base: tuple[int, ...], second: tuple[int, ...], share: float, rows: np.ndarray) -> np.ndarray:
        return two_stage(products[base], lambda _: np.asarray(second) @ rows, share)

    for base, share in itertools.product(first, SHARES):
        rows = logs(SECOND, best_part(products[base], share))
        for second in seconds:
            found = measured(ordered(base, second, share, rows), accuracies, without=SLOW)
            forms.append((merit(found, units), base, second, share))
        print(base, share, f"{max(forms)[0]:.2f}", flush=True)
    listed: list[dict[str, Any]] = []
    for _, base, second, share in sorted(forms, reverse=True)[:FINALISTS]:
        listed.append({"share": share, **judged(f"two_stage({product(SCORES, base)},{product(SECOND, second)},{share})")})
    listed.sort(key=lambda row: -row["merit"])
    error = float(np.std([merit(draw, units) for draw in resampled(cells.ranked(listed[0]["form"], 0), accuracies)]))
    near = [row for row in listed if row["merit"] >= listed[0]["merit"] - error]
    two = max(near, key=lambda row: (-row["share"], row["merit"]))["form"]
    thirds = {few: judged(f"two_stage({two},{THIRD},{few})" if few else two) for few in FEW}
    chosen = max(thirds.values(), key=lambda row: row["merit"])
    agrees = str(aggregates.parse(chosen["form"])) == str(aggregates.get("consensus").combination)
    print("chosen:", chosen, "\nwhich is" if agrees else "\nwhich is not", "the form of consensus")
    facts = {
        "question": "which form ranks best where it may be chosen",
        "rule": "sum of the measures in units of their standard errors; within one standard error of the best, the smallest second stage; "
        "then the best third stage",
        "seen": "CIFAR-10 test accuracy of the cells of even index, scores of one seed",
        "forms": len(products) + len(forms) + len(thirds) - 1,
        "finalists": FINALISTS,
        "standard_errors": units,
        "standard_error_of_the_best": error,
        "within_it": len(near),
        "thirds": list(thirds.values()),
        "chosen": chosen,
        "chosen_is_consensus": agrees,
        "rows": listed[:40],
    }
    measure.record("ranking/consensus_form", facts)


if __name__ == "__main__":
    main()
