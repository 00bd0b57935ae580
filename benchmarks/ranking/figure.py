"""Draw how well scores rank architectures, compared with the number of parameters: figure.png, from proxy_study.json.

Command: python -m benchmarks.ranking.figure
"""

import json
import pathlib

import matplotlib as mpl
from matplotlib import pyplot as plt

HERE = pathlib.Path(__file__).parent
NULL = "params"
SHOWN = (
    "az_nas",
    "meco",
    "tenas_rank_sum",
    "swap",
    "zico",
    "naswot",
    NULL,
    "ntk_condition",
    "synflow",
    "jacob_cov",
    "mgm",
    "snip",
    "random",
)


def main() -> None:
    """Draw one row per score, and the null model as a line through all."""
    mpl.use("Agg")
    rows = {row["name"]: row["spearman"] for row in json.loads((HERE / "proxy_study.json").read_text())["rows"]["cifar10"]}
    best_first = sorted(SHOWN, key=lambda name: rows[name]["value"])
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    null = rows[NULL]
    axes.axvspan(*null["interval_95"], color="0.92", lw=0)
    axes.axvline(null["value"], color="0.45", lw=1, ls="--")
    for at, name in enumerate(best_first):
        value, (low, high) = rows[name]["value"], rows[name]["interval_95"]
        colour = "0.45" if name in (NULL, "random") else "tab:green" if low > null["value"] else "tab:blue"
        axes.plot([low, high], [at, at], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot(value, at, "o", color=colour, ms=6)
    labels = {NULL: "number of parameters", "mgm": "mgm (KNAS)", "tenas_rank_sum": "tenas_rank_sum (TE-NAS)"}
    axes.set_yticks(range(len(best_first)), [labels.get(name, name) for name in best_first])
    axes.set_xlim(-0.1, 1)
    axes.set_xlabel("rank correlation with trained CIFAR-10 accuracy, with 95 % interval")
    axes.set_title("Which training-free scores beat counting parameters? 1,000 cells of NAS-Bench-201", loc="left", fontsize=10, x=-0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(HERE / "figure.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
