"""Figure 2 of KNAS (arXiv:2111.13293): does MGM rank architectures by how well they train?

Question: Spearman's correlation of MGM at initialisation, on CIFAR-100 images, with accuracy and with the negative training loss of the
trained networks, over 50 repetitions of 200 random architectures. Published: about 0.53 with the training loss, 0.55 (0.56 in figure 1)
with validation accuracy. Expected: at least 0.56 with CIFAR-100 accuracy and at least 0.53 with the negative training loss after 200
epochs; about 0.65 for both, with a spread of 0.04 over repetitions. The number of parameters, the null model, has 0.72 and 0.77.
Command: python -m benchmarks.ranking.figure2 --db SCORES.sqlite [--images cifar100.npz] [--repetitions 50] [--sample 200]
Needs in SCORES.sqlite scores of mgm (`jknas score --data cifar100.npz --db SCORES.sqlite`) of architectures among the first 1,000, the only
ones whose training loss is known. Under a minute.

Deviations: the 50 samples are drawn from the scored ones of these 1,000, so that they overlap, and their spread is smaller than that of 50
samples of the whole space. The accuracies are means over seeds; a training loss is that of one seed.
"""

import argparse
import pathlib

import numpy as np

from benchmarks import measure
from jknas import spaces, tabular
from jknas.ranking import metrics
from jknas.scoring.store import Store
from jknas.search import scored_pool

DATASET = "cifar100"


def measured(table: tabular.Table, genotype: object, rng: np.random.Generator) -> dict[str, float]:
    """Return what is known of a trained architecture, each the larger the better."""
    found = {
        f"{split} accuracy, {epochs} epochs": table.accuracy(genotype, dataset=DATASET, split=split, epochs=epochs, seeds="mean").mean
        for split in ("validation", "test")
        for epochs in (12, 200)
    }
    losses = {
        f"negative training loss, {epochs} epochs": -table.training_loss(genotype, dataset=DATASET, epochs=epochs, seeds=rng)
        for epochs in (12, 200)
    }
    return found | losses


def main() -> None:
    """Correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=pathlib.Path, required=True, help="store of scores")
    parser.add_argument("--images", default="cifar100.npz", help="name of the data set on whose images mgm was scored")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.db.exists():
        parser.error(f"{options.db}: no such file; score architectures with `jknas score --db` first")
    table = tabular.load()
    with Store(options.db) as store:
        scores = scored_pool(store, space=spaces.get("nasbench201"), proxy="mgm", dataset=options.images)
    cells = [genotype for genotype in table.genotypes()[:1000] if genotype in scores]
    if len(cells) < options.sample:
        parser.error(f"{len(cells)} of the first 1,000 architectures are scored; {options.sample} are wanted")
    rng = np.random.default_rng(options.seed)
    known = [measured(table, genotype, rng) for genotype in cells]
    # A dead cell has a score that is no score: it ranks last, as in a search.
    mgm = np.array([scores[g].score if scores[g].status == "ok" else np.nan for g in cells])
    rankings = {"mgm": mgm, "params": np.array([float(table.parameters(g, dataset=DATASET)) for g in cells])}
    drawn = [rng.choice(len(cells), options.sample, replace=False) for _ in range(options.repetitions)]
    result = {}
    for name, ranking in rankings.items():
        for target in known[0]:
            trained = np.array([one[target] for one in known])
            values = np.array([metrics.spearman(ranking[places], trained[places]).value for places in drawn])
            whole = metrics.spearman(ranking, trained).value
            result[f"{name}, {target}"] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)),
                "low": float(values.min()),
                "high": float(values.max()),
                "all_scored": whole,
            }
            print(f"{name:7} {target:36} {values.mean():.3f} +- {values.std(ddof=1):.3f}, all {len(cells)}: {whole:.3f}")
    key = scores[cells[0]].key
    settings = {"images": key.dataset, "settings": key.settings, "seed": key.seed, "scored": len(cells)}
    settings |= {"repetitions": options.repetitions, "sample": options.sample, "dead": int(np.isnan(mgm).sum())}
    published = {"validation accuracy": [0.55, 0.56], "negative training loss": 0.53}
    measure.record(
        "ranking/figure2", {"question": "Spearman correlation over repetitions", **settings, "published": published, "spearman": result}
    )


if __name__ == "__main__":
    main()
