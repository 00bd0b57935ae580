r"""How well does GRAF's forest rank cells, having seen n trained ones?

Question: rank correlations and nDCG of the accuracies that a random forest on GRAF's 191 features predicts, with the 200-epoch test
accuracies of NAS-Bench-201, when n = 32, 128 or 1,024 random cells were trained. The cells are the 9,445 reachable ones; the forest is
judged on all that it has not seen. Mean and standard deviation over samples of n. Supervised: no row here is comparable with a
training-free score without its n.
Expected: a re-implementation's values on record (``ON_RECORD``; 5 samples, 100 trees), correlations within 0.02 for n = 128 and 1,024.
With n = 32 one sample differs from the next by more than that (see the standard deviations).
nDCG is that of the 1,000 highest predictions, with gain 2^accuracy - 1.
Command: python -m benchmarks.ranking.graf [--samples 20] [--trees 100] [--scores FILE --proxy NAME,...]
About 4 minutes on one quiet core. --scores adds rows with the scores of proxies as further columns (ranks within the cells, so that a
forest can split scores beyond single precision; scores whose status is not ok are missing values), and with these scores alone. Writes
graf.json.
"""

import argparse
import pathlib
from collections.abc import Mapping

import numpy as np
import sklearn
from scipy import stats

from benchmarks import measure
from jknas import spaces, tabular
from jknas.ranking import metrics
from jknas.ranking.graf import fit_forest, graf_features, predicted
from jknas.scoring.score_table import read_scores
from jknas.search import measured_in
from jknas.spaces.nasbench201.reachable import reachable

ON_RECORD: Mapping[str, Mapping[int, tuple[float, float, float]]] = {
    "cifar10": {32: (0.693, 0.875, 0.831), 128: (0.761, 0.920, 0.879), 1024: (0.839, 0.961, 0.941)},
    "cifar100": {32: (0.678, 0.863, 0.683), 128: (0.746, 0.912, 0.785), 1024: (0.832, 0.960, 0.902)},
    "imagenet16-120": {32: (0.650, 0.837, 0.654), 128: (0.731, 0.900, 0.781), 1024: (0.816, 0.951, 0.867)},
}
"""Kendall's tau, Spearman's rho and nDCG@1000 by data set and n."""

MEASURES = ("kendall_tau_b", "spearman", "ndcg_1000")


def judged(scores: np.ndarray, accuracies: np.ndarray) -> list[float]:
    """Return the three measures of scores against accuracies in percent."""
    return [measured(scores, accuracies).value for measured in (metrics.kendall_tau_b, metrics.spearman, metrics.ndcg)]


def score_columns(path: pathlib.Path, names: list[str], cells: list) -> np.ndarray:
    """Return the ranks of committed scores, one column for each proxy; NaN where a status is not ok."""
    measured = measured_in(read_scores(path), space=spaces.get("nasbench201"), names=names)
    return np.stack([stats.rankdata([measured[name][cell] for cell in cells], nan_policy="omit") for name in names], axis=1)


def main() -> None:
    """Fit, judge, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--scores", type=pathlib.Path, help="table of scores, such as ranking/whole_space_scores.csv.gz")
    parser.add_argument("--proxy", type=lambda text: text.split(","), default=[], help="whose scores are added as features")
    options = parser.parse_args()
    table, cells = tabular.load(), [cell for cell in spaces.get("nasbench201").enumerate() if reachable(cell)]
    features = {"graf": graf_features(cells)}
    if options.scores is not None:
        scores = score_columns(options.scores, options.proxy, cells)
        features |= {"graf and scores": np.concatenate([features["graf"], scores], axis=1), "scores alone": scores}
    rows = []
    for dataset, on_record in ON_RECORD.items():
        reports = tabular.PROTOCOLS[dataset].reports._asdict()
        accuracies = np.array([table.accuracy(cell, **reports, seeds="mean").mean for cell in cells])
        for kind, columns in features.items():
            for n, expected in on_record.items():
                found = []
                for sample in range(options.samples):
                    order = np.random.default_rng(sample).permutation(len(cells))
                    seen, rest = order[:n], order[n:]
                    forest = fit_forest(columns[seen], accuracies[seen], seed=sample, trees=options.trees)
                    found.append(judged(predicted(forest, columns[rest]).accuracies, accuracies[rest]))
                measured = {
                    name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}
                    for name, values in zip(MEASURES, zip(*found, strict=True), strict=True)
                }
                row = {"features": kind, "dataset": dataset, "n": n, "judged_on": len(cells) - n, **measured}
                rows.append({**row, "on_record": dict(zip(MEASURES, expected, strict=True)) if kind == "graf" else None})
                shown = ", ".join(f"{name} {one['mean']:.3f}" for name, one in measured.items())
                print(f"{kind}, {dataset}, n = {n}: {shown}" + (f" (on record {expected})" if kind == "graf" else ""), flush=True)
    settings = {"cells": len(cells), "samples": options.samples, "trees": options.trees, "proxies": options.proxy}
    question = "how a random forest on GRAF's features ranks reachable cells that it has not seen, by the number n of trained cells"
    measure.record(
        "ranking/graf", {"question": question, "settings": settings, "rows": rows}, extra_versions={"scikit-learn": sklearn.__version__}
    )


if __name__ == "__main__":
    main()
