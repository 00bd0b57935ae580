"""Draw what rankings of the whole space are worth, compared with size and with chance: figure.png, from whole_space_scores.csv.gz.

Left: Spearman's correlation with 200-epoch test accuracy on CIFAR-100, which the choice of `consensus` has not seen. Right: the accuracy
that is lost when the best k cells of a ranking are trained, instead of all 15,625.
Command: python -m benchmarks.ranking.figure
"""

import pathlib

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from benchmarks.ranking.whole_space import Cells
from jknas.ranking import metrics
from jknas.scoring.score_table import read_scores

HERE = pathlib.Path(__file__).parent
NULL = "params"
COLOURS = {"consensus": "tab:green", NULL: "0.35", "random": "0.6"}
LABELS = {
    NULL: "number of parameters",
    "conv_count": "number of convolutions",
    "mgm": "mgm (KNAS)",
    "ntk_condition": "ntk_condition (TE-NAS)",
}
SHOWN = (
    "consensus",
    "meco",
    "near",
    "az_nas",
    "vkdnw_agg",
    "zico",
    "naswot",
    "synflow",
    NULL,
    "conv_count",
    "jacob_cov",
    "mgm",
    "zen",
    "ntk_condition",
    "random",
)
KS = np.unique(np.round(np.geomspace(1, 1000, 40)).astype(int))


def main() -> None:
    """Draw both panels."""
    mpl.use("Agg")
    table = read_scores(HERE / "whole_space_scores.csv.gz")
    cells = Cells(table, lambda genotype: True, table.seeds("jacob_cov"))
    accuracies = cells.accuracies["cifar100"]
    rho = {name: metrics.spearman(cells.ranked(name, "mean"), accuracies).value for name in SHOWN}
    best_last = sorted(SHOWN, key=lambda name: rho[name])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.0), layout="constrained", width_ratios=(1, 1.15))
    colours = [COLOURS.get(name, "tab:blue") for name in best_last]
    left.barh(range(len(best_last)), [rho[name] for name in best_last], color=colours, height=0.62)
    left.axvline(rho[NULL], color="0.35", lw=1, ls="--")
    left.set_yticks(range(len(best_last)), [LABELS.get(name, name) for name in best_last])
    left.set_xlabel("rank correlation with trained accuracy, CIFAR-100")
    for name in ("consensus", NULL, "meco", "jacob_cov", "random"):
        values = np.zeros(len(accuracies)) if name == "random" else cells.ranked(name, "mean")  # all tie: the mean over random orders
        lost = [metrics.regret(values, accuracies, int(k)).value for k in KS]
        style = {"ls": "--"} if name in (NULL, "random") else {}
        right.plot(KS, lost, color=COLOURS.get(name), label=LABELS.get(name, name), lw=2.2 if name == "consensus" else 1.4, **style)
    right.set(xscale="log", xlabel="cells trained, of 15,625", ylabel="accuracy lost, percent", ylim=(-0.25, 8))
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("All cells of NAS-Bench-201 at the published size, ranked without training", fontsize=10)
    figure.savefig(HERE / "figure.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
