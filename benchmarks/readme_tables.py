"""Write the tables of README.md and benchmarks/README.md from the recorded results, so that no number is copied by hand.

A table is what is between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; NAME is one of ``TABLES``. The description of a benchmark
is what is between ``<!-- about: FOLDER/SCRIPT -->`` and ``<!-- end of about -->``: its docstring, and where its result was measured.
Command: python -m benchmarks.readme_tables [--check]
"""

import argparse
import ast
import json
import pathlib
import re
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

HERE = pathlib.Path(__file__).parent
PAGES = (HERE.parent / "README.md", HERE / "README.md")
TARGETS = ("cifar10", "cifar100", "imagenet16-120")
TITLES = ("CIFAR-10", "CIFAR-100", "ImageNet16-120")
RANGE = {"median": "median", "low": "lowest", "high": "highest"}
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)
_ABOUT = re.compile(r"(<!-- about: (\S+) -->\n).*?(\n<!-- end of about -->)", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """Return a recorded result, such as ``speed/gram_speed``."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def lined(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def number(value: float | None, digits: int = 2) -> str:
    """Return a rounded number; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN


def interval(cell: Mapping[str, Any]) -> str:
    """Return a value with its interval."""
    low, high = cell["interval_95"]
    return f"{number(cell['value'])} [{number(low)}, {number(high)}]"


def spread(pair: Sequence[float], count: int = 2) -> str:
    """Return a mean with its standard deviation, which one number has not."""
    return number(pair[0]) if count < 2 else f"{number(pair[0])} ± {number(pair[1])}"


def named(score: str) -> str:
    """Return a score's name as code; the random score is none of the proxies."""
    return score if score == "random" else f"`{score}`"


def study(name: str, only: Sequence[str] | None = None) -> str:
    """Return the rows of a run of ``proxy_study.py``."""
    rows = result(name)["rows"]
    found = {target: {row["name"]: row for row in rows[target]} for target in TARGETS}
    head = ["score", *TITLES, "top tenth", "regret@10", "tau"]
    lines = []
    for row in rows["cifar10"]:
        if only is None or row["name"] in only:
            cells = [named(row["name"]), interval(row["spearman"])]
            cells += [number(found[target][row["name"]]["spearman"]["value"]) for target in TARGETS[1:]]
            lines.append([*cells, number(row["top_decile"]["value"]), number(row.get("regret@10")), number(row["kendall_tau_b"]["value"])])
    return lined(head, lines)


def proxies() -> str:
    """Return the study of all scores, on networks with one cell per stage."""
    return study("ranking/proxy_study")


def ranked(listed: Sequence[str], among: str = "ALL") -> str:
    """Return rankings of the whole space, for three data sets: Spearman, nDCG@1000 and Spearman among the best tenth."""
    found = result("ranking/whole_space")["rows"][among]
    by_target = [{row["name"]: row["mean_of_seeds"] for row in found[target]} for target in TARGETS]

    def triple(name: str, measure: str) -> str:
        return " / ".join(f"{rows[name][measure]:.3f}".lstrip("0") for rows in by_target)

    measures = ("spearman", "kendall_tau_b", "ndcg_at_1000", "top_decile_spearman", "within_equal_convolutions")
    head = ("ranking", "Spearman", "Kendall", "nDCG@1000", "Spearman, top tenth", "beyond size")
    return lined(head, [[named(name), *(triple(name, measure) for measure in measures)] for name in listed])


def choice() -> str:
    """Return the rankings that the front page shows."""
    return ranked(("consensus", "meco", "synflow", "params", "random"))


def whole_space() -> str:
    """Return every ranking of the whole space that was compared."""
    return ranked([row["name"] for row in result("ranking/whole_space")["rows"]["ALL"]["cifar10"]])


def whole_space_reachable() -> str:
    """Return the same on the cells that other papers compare on."""
    return ranked([row["name"] for row in result("ranking/whole_space")["rows"]["U"]["cifar10"]], "U")


def whole_space_seeds() -> str:
    """Return the consensus by single seeds, by half of the space, and with its intervals."""
    found, lines = result("ranking/whole_space"), []
    measures = ("spearman", "kendall_tau_b", "ndcg_at_1000", "top_decile_spearman")
    for target, title in zip(TARGETS, TITLES, strict=True):
        by_set = {name: next(row for row in rows[target] if row["name"] == "consensus") for name, rows in found["rows"].items()}
        whole = by_set["ALL"]
        shown = whole["mean_of_seeds"]
        intervals = (f"{number(shown[one], 3)} [{number(low, 3)}, {number(high, 3)}]" for one, (low, high) in whole["interval_95"].items())
        lines.append([title, "ranks of all seeds averaged", *intervals])
        lines += [[title, f"seed {seed}", *(number(row[one], 3) for one in measures)] for seed, row in whole["single_seeds"].items()]
        odd = by_set["ALL, odd index"]["mean_of_seeds"]
        lines.append([title, "cells of odd index alone", *(number(odd[one], 3) for one in measures)])
    return lined(["data set", "consensus by", "Spearman", "Kendall", "nDCG@1000", "Spearman, top tenth"], lines)


def score_cost() -> str:
    """Return what a score costs, beside what others report."""
    rows = result("ranking/score_cost")["milliseconds_a_cell_of_one_core"]
    lines = [[f"`{name}`", number(row["mean"], 0), number(row["median"], 0), number(row["published"], 1)] for name, row in rows.items()]
    return lined(["score", "mean, ms", "median, ms", "published, ms"], lines)


def consensus_cost() -> str:
    """Return what the parts of `consensus` and of its light variant cost for the whole space."""
    recorded, lines = result("ranking/score_cost"), []
    for aggregate in ("consensus", "consensus_light"):
        found = recorded[aggregate]
        scale = found["classes"] / recorded["settings"]["sample"]
        for name, row in found["parts"].items():
            lines.append([f"`{aggregate}`", f"`{name}`", number(row["classes"] * scale, 0), number(row["seconds"] * scale / 60, 1)])
        lines.append([f"`{aggregate}`", "all parts", number(found["classes"], 0), number(found["minutes"], 1)])
    return lined(["ranking", "part", "classes", "minutes"], lines)


def knas_rankings() -> str:
    """Return what KNAS finds by each ranking."""
    found = result("search/knas_rankings")["rows"]
    lines = []
    for pool, rows in found.items():
        for name, row in rows.items():
            many = row["cifar10"]["runs"] > 1
            cells = [spread((row[one]["mean"], row[one]["standard_error"])) if many else number(row[one]["mean"]) for one in TARGETS]
            lines.append([pool, *name.split(", "), *cells, str(row["cifar10"]["runs"])])
    return lined(["pool", "ranked by", "trained", *TITLES, "runs"], lines)


def hybrid() -> str:
    """Return what searches find that mix scores and a few trainings."""
    found = result("search/hybrid")["rows"]
    lines = [
        [name, *(spread(row["test"][target]) for target in TARGETS), number(row["queries"][0], 0), f"{row['seconds'][0]:,.0f}"]
        for name, row in found.items()
    ]
    return lined(["search", *TITLES, "trainings", "seconds of the table"], lines)


def published() -> str:
    """Return the scores that were measured on the published network as well."""
    return study("ranking/proxy_study_published")


def whole() -> str:
    """Return the scores that are cheap enough for the whole space."""
    rows = result("ranking/proxy_study_whole")["rows"]
    found = {target: {row["name"]: row for row in rows[target]} for target in TARGETS}
    head = ["score", *TITLES, *(f"tau, {title}" for title in TITLES)]
    lines = [
        [
            named(row["name"]),
            *(number(found[target][row["name"]][of]["value"], 3) for of in ("spearman", "kendall_tau_b") for target in TARGETS),
        ]
        for row in rows["cifar10"]
    ]
    return lined(head, lines)


def estimators() -> str:
    """Return what KNAS's estimators rank by."""
    head = ["estimator", *TITLES, "other seed", "one example's gradient norm", "negative"]
    rows = []
    for name, facts in result("ranking/knas_estimators")["facts"].items():
        means = [
            sum(values) / len(values) for values in (*facts["spearman"].values(), facts["reliability"], facts["with_one_example_norm"])
        ]
        rows.append(
            [
                name.replace("parameters a layer", "parameters per layer"),
                *(number(mean) for mean in means),
                f"{100 * facts['negative_share']:.0f} %",
            ]
        )
    return lined(head, rows)


def rivals() -> str:
    """Return the searches with 12,000 s on CIFAR-10, next to the published rows."""
    head = ["search", "runs", *(text for title in TITLES for text in (title, "published"))]
    rows = []
    for name, row in result("search/rivals")["table"]["searched on cifar10"].items():
        if name != "null models":
            cells = [name, str(row["seeds"])]
            for target in TARGETS:
                cells += [spread(row["test"][target]), spread(row["published"][target])]
            rows.append(cells)
    return lined(head, rows)


def figure2() -> str:
    """Return MGM's and the number of parameters' correlations with accuracy and training loss."""
    found = result("ranking/figure2")["spearman"]
    measured = ("validation accuracy, 200 epochs", "test accuracy, 200 epochs", "negative training loss, 200 epochs")
    rows = []
    for score in dict.fromkeys(name.partition(", ")[0] for name in found):
        facts = (found[f"{score}, {of}"] for of in measured)
        rows.append([f"`{score}`", *(f"{number(fact['mean'])} ± {number(fact['sd'])}" for fact in facts)])
    return lined(["score", *measured], rows)


def accuracy_or_status(row: Mapping[str, Any]) -> str:
    """Return accuracy and spread, or why there is none."""
    if row["status"] != "measured":
        return str(row["status"])
    return number(row["test"][0]) if row["runs"] == 1 else spread(row["test"])


def table1() -> str:
    """Return Table 1 of KNAS: for each data set our accuracy, the published one and the null model's."""
    found = result("search/table1")
    columns: Mapping[str, Mapping[str, Any]] = found["table"]
    lines = []
    for name, printed in found["published"].items():
        rows = {dataset: column[name] for dataset, column in columns.items()}
        line = [name, "/".join(dict.fromkeys(str(row.get("runs", "-")) for row in rows.values()))]
        for dataset, row in rows.items():
            null = row.get("null_model")
            line += [accuracy_or_status(row), number(printed["test"][dataset])]
            line.append("" if null is None else f"{spread(null['test'])} (k = {null['k']})")
        lines.append(line)
        if name in SMALL_RECIPES:
            lines.append(_small_recipe(name, columns))
    ranked = result("search/knas_rankings")["rows"]
    for pool, of, k in (("pool 100", "pool of 100", 5), ("pool 1000", "pool of 1,000", 5), ("whole space", "whole space", 5)):
        rows = ranked[pool]
        line = [f"KNAS by `consensus`, {of}, k={k}", str(rows[f"consensus, k={k}"]["cifar10"]["runs"])]
        for dataset in columns:
            own, null = rows[f"consensus, k={k}"][dataset], rows.get(f"random, k={k}", {}).get(dataset)
            line.append(spread((own["mean"], own["standard_deviation"])) if own["runs"] > 1 else number(own["mean"]))
            line += ["", "" if null is None else f"{spread((null['mean'], null['standard_deviation']))} (k = {k})"]
        lines.append(line)
    return lined(["method", "runs", *(text for dataset in columns for text in (dataset, "published", "best of k random"))], lines)


SMALL_RECIPES = {"RSPS": ("rsps", "early"), "GDAS": ("gdas", "test"), "DARTS": ("darts-v1", "early")}
"""The searches of Table 1 that share weights, and which of their cells KNAS's comparison takes: RSPS's and DARTS's best of ten epochs."""


def _small_recipe(name: str, datasets: Iterable[str]) -> list[str]:
    """Return the row of a small recipe, with random search of the published seconds as its null model."""
    method, kind = SMALL_RECIPES[name]
    found = result("search/weight_sharing")["methods"][method]
    line = [f"{name}, small recipe on two cores", str(found["summary"]["seeds"])]
    for dataset in datasets:
        rival = found["same_cost"]["test"][dataset]
        line += [spread(found["summary"][kind][dataset]), "", f"{spread(rival)} (k = {found['same_cost']['evaluations']:.0f})"]
    return line


def weight_sharing() -> str:
    """Return what the searches by weight sharing find with the small recipe, beside published numbers and random search of their cost."""
    lines = []
    for name, found in result("search/weight_sharing")["methods"].items():
        small, rival, printed = found["summary"], found["same_cost"], found["published"]
        last = found["runs"]
        skips = " ".join(str(one["operations"]["skip_connect"]) for one in last)
        lines.append(
            [
                f"`{name}`",
                *(spread(small[kind][target]) for kind in ("test", "early") for target in TARGETS),
                skips,
                f"{small['seconds'] / 60:.0f}",
                " / ".join(number(value) for value in printed["test"]),
                f"{' / '.join(number(rival['test'][target][0]) for target in TARGETS)} ({rival['evaluations']:.0f} cells)",
            ]
        )
    titles = [f"{kind}, {target}" for kind in ("last cell", "best of 10 epochs") for target in TARGETS]
    return lined(["method", *titles, "skips of 6", "minutes", "published recipe", "random, published seconds"], lines)


def table1_seconds() -> str:
    """Return the search times of Table 1 of KNAS in both accountings."""
    found = result("search/table1")
    columns: Mapping[str, Mapping[str, Any]] = found["table"]
    lines = []
    for name, printed in found["published"].items():
        line = [name]
        for at, column in enumerate(columns.values()):
            seconds = column[name].get("seconds", {})
            line.append("-" if printed["seconds"] is None else f"{printed['seconds'][at]:,.0f}")
            line += [f"{seconds[kind]:,.0f}" if kind in seconds else "-" for kind in ("full-training", "twelve-epochs")]
        lines.append(line)
    kinds = ("published s", "full-training s", "twelve-epochs s")
    return lined(["method", *(f"{dataset}, {kind}" for dataset in columns for kind in kinds)], lines)


def tenas_study() -> str:
    """Return how TE-NAS's numbers rank architectures: Kendall's tau-b with its interval."""
    rows = []
    for score, facts in result("ranking/tenas_study")["correlation"].items():
        cells = ({"value": facts[target]["kendall_tau_b"], "interval_95": facts[target]["interval_95"]} for target in TARGETS)
        rows.append([score, *map(interval, cells)])
    return lined(["score", *TITLES], rows)


def tenas_search() -> str:
    """Return the accuracies of the cells that TE-NAS finds, next to null models."""
    found = result("search/tenas_search")
    rows = {"TE-NAS, published (4 seeds)": found["published"]}
    rows |= {f"TE-NAS, {name}, {row['seeds']} seeds": row for name, row in found["table"].items()}
    rows |= found["null_models"]
    return lined(["", *TITLES], [[name, *(spread(row[target]) for target in TARGETS)] for name, row in rows.items()])


def tenas_seconds() -> str:
    """Return how long TE-NAS searches took."""
    rows = []
    for name, runs in result("search/tenas_search")["runs"].items():
        seconds = sorted(run["compile"] + run["score"] for run in runs)
        rows.append(["NAS-Bench-201", name, str(len(runs)), f"{seconds[0] / 60:.1f} to {seconds[-1] / 60:.1f} minutes"])
    darts = result("search/darts_search")
    name = ", ".join(darts["settings"][setting] for setting in ("variant", "statistics", "draws"))
    rows.append(["DARTS", name, "1", f"{darts['seconds'] / 60:.1f} minutes"])
    return lined(["space", "search", "runs", "time, compilation included"], rows)


def darts_correlation(run: str = "darts_correlation") -> str:
    """Return how scores rank trained DARTS architectures."""
    found = result(f"ranking/{run}")["correlation"]
    return lined(
        ["score", "Spearman", "tau"],
        [[named(name), interval(row["spearman"]), interval(row["kendall_tau_b"])] for name, row in found.items()],
    )


def darts_correlation_observed() -> str:
    """Return how `consensus` and what it rests on rank them, in small networks."""
    return darts_correlation("darts_correlation_observed")


def flexibert() -> str:
    """Return how scores rank the trained encoders of FlexiBERT's benchmark, over all of them and inside the groups of equal size."""
    found = result("ranking/flexibert")
    groups = list(next(iter(found["rows"].values()))["groups"])
    rows = []
    for row in found["rows"].values():
        whole = row["glue"]
        of_groups = (row["groups"][group]["kendall_tau_b"] for group in groups)
        inside = ("-" if cell["value"] is None else interval(cell) for cell in of_groups)
        rows.append([row["title"], interval(whole["kendall_tau_b"]), number(whole["spearman"]["value"]), *inside])
    rows += [[name, f"{number(one['kendall_tau'])} ({one['source']})", "", *[""] * len(groups)] for name, one in found["published"].items()]
    return lined(["score", "tau-b with GLUE", "Spearman", *groups], rows)


def mgm_correlation() -> str:
    """Return how MGM ranks a random sample of architectures."""
    rows = []
    for score, facts in result("ranking/mgm_correlation")["correlation"].items():
        cells = ({"value": facts[target]["spearman"], "interval_95": facts[target]["interval_95"]} for target in TARGETS)
        rows.append([named(score), *map(interval, cells)])
    return lined(["score", *TITLES], rows)


def ratios(name: str, said: Mapping[str, str]) -> str:
    """Return the median ratios of a speed benchmark, one column per cell."""
    cells = result(name)["cells"]
    rows = [[text, *(number(cell["ratios"][pair]["median"]) for cell in cells.values())] for pair, text in said.items()]
    return lined(["ratio", *(cell.replace("_", " ") for cell in cells)], rows)


def ranges(pairs: Mapping[str, Any], said: Mapping[str, str]) -> list[list[str]]:
    """Return the median, the lowest and the highest of ratios, one row per ratio."""
    return [[text, *(number(pairs[pair][part]) for part in RANGE)] for pair, text in said.items()]


def mgm_speed() -> str:
    """Return the speed of training and of MGM against PyTorch."""
    said = {
        "step / torch": "our training step / PyTorch's",
        "mgm / step": "exact MGM, static genotype / our step",
        "mgm_code / step": "exact MGM, one program for the space / our step",
        "released / mgm50": "released procedure (50 batch-one passes in PyTorch) / exact MGM of the same 50 examples",
    }
    return ratios("speed/mgm_speed", said)


def text_speed() -> str:
    """Return the speed of training, MGM and the kernel of a text encoder."""
    said = {
        "fine_tuning / torch": "our fine-tuning step (AdamW, dropout; 16 pairs of 96 tokens) / PyTorch's",
        "mgm / step": "exact MGM, one program for all wirings (32 pairs of 64 tokens) / training step of that program",
        "gram / step": "exact 32 x 32 kernel, likewise / training step of that program",
    }
    return lined(["ratio", *RANGE.values()], ranges(result("speed/text_speed")["ratios"], said))


def text_fine_tuning() -> str:
    """Return what fine-tuning an encoder reaches, by jknas and by PyTorch."""
    rows = []
    for library, found in result("training/text_fine_tuning")["means"].items():
        accuracies = (spread([100 * value for value in pair]) for pair in found["accuracy"])
        rows.append([library, str(found["seeds"]), *accuracies, spread([100 * value for value in found["f1"]])])
    return lined(["library", "seeds", *(f"accuracy after epoch {epoch}, %" for epoch in (1, 2, 3)), "F1, %"], rows)


def table2() -> str:
    """Return Table 2 of KNAS, as far as it was measured."""
    said = {"plain": "plain encoder", "best": "best {kept} by MGM", "random": "{kept} random wirings"}
    rows = []
    for task, found in result("search/table2")["tasks"].items():
        published = {"plain": found["published"]["RoBERTa-large"], "best": found["published"]["KNAS"]}
        for kind, row in found["rows"].items():
            count, measures = len(row["seeds"]), ("dev", "f1", "test")
            values = (spread([100 * value for value in row[name]], count) if name in row else "-" for name in measures)
            names = ", ".join(f"`{name}`" for name in row["wirings"])
            cells = [task.upper(), said[kind].format(**found), names, str(count), *values, number(published.get(kind))]
            rows.append(cells)
    return lined(["task", "search", "fine-tuned", "seeds", "dev accuracy", "dev F1", "test accuracy", "published, RoBERTa-large"], rows)


def table2_wirings() -> str:
    """Return every wiring with its MGM and its fine-tuned accuracies on dev."""
    rows = []
    for task, found in result("search/table2")["tasks"].items():
        for name, one in found["wirings"].items():
            reached = spread([100 * value for value in one["dev"]], len(one["runs"])) if "dev" in one else "-"
            rows.append([task.upper(), str(one["rank"]), f"`{name}`", f"{one['mgm']:.4f}", str(len(one["runs"])), reached])
    return lined(["task", "rank", "wiring", "MGM", "trainings", "dev accuracy"], rows)


def supernet_step() -> str:
    """Return the speed of the steps of a supernet."""
    said = {
        "mixture / torch": "weight step of the mixture of all operations / PyTorch's",
        "sampled / mixture": "GDAS's step, of the drawn operations / that of the mixture",
        "code / mixture": "step of a uniformly random code (RSPS, SETN, ENAS) / that of the mixture",
    }
    found = result("speed/supernet_step")["cells"]
    rows = [[cells, *row] for cells, pairs in found.items() for row in ranges(pairs, said)]
    return lined(["cells per stage", "ratio", *RANGE.values()], rows)


def gram_speed() -> str:
    """Return the speed of the exact kernel of the NAS-Bench-201 network."""
    said = {
        "gram / step": "exact N x N kernel, static genotype / our training step",
        "gram_code / step": "the same, one program for the space / our training step",
        "tenas / gram": "released TE-NAS loop (N backward passes in PyTorch) / exact kernel",
        "torch_func / gram": "`torch.func` per-example gradients and one matrix product / exact kernel",
        "neural_tangents / gram": "neural-tangents on the same network / exact kernel",
        "jacobian / gram": 'our `method="jacobian"` / exact kernel',
    }
    return ratios("speed/gram_speed", said)


def ratios_by_cell(section: str, said: Mapping[str, str]) -> str:
    """Return a line a cell of a section of gram_speed.json: the medians of the ratios that ``said`` gives heads."""
    rows = []
    for cell, facts in result("speed/gram_speed")[section].items():
        values = (number(facts["ratios"][pair]["median"]) for pair in said)
        rows.append([cell.replace("_", " "), str(facts["examples"]), str(facts["repeats"]), *values])
    return lined(["cell", "examples", "repeats", *said.values()], rows)


def gram_speed_plain() -> str:
    """Return the speed of the exact kernel of the same network, written plainly."""
    said = {
        "gram / backward": "kernel / backward pass",
        "neural_tangents / gram": "neural-tangents / kernel",
        "jacobian / gram": '`method="jacobian"` / kernel',
    }
    return ratios_by_cell("plain", said)


def gram_speed_coupled() -> str:
    """Return the speed of the kernel of training-mode batch normalisation."""
    said = {
        "coupled / passes": "`ntk_coupled` / N backward passes",
        "eight / coupled": "eight passes at a time / one",
        "tenas / coupled": "released loop / `ntk_coupled`",
    }
    return ratios_by_cell("coupled", said)


def gram_parts() -> str:
    """Return the speed of the kernel's diagonal and of sketches."""
    models = result("speed/gram_parts")["models"]
    pairs = list(next(iter(models.values()))["ratios"])
    rows = [[pair, *(number(facts["ratios"][pair]["median"]) for facts in models.values())] for pair in pairs]
    return lined(["ratio", *(f"{name}, {facts['parameters'] / 1e6:.1f} M parameters" for name, facts in models.items())], rows)


def tiled_gram() -> str:
    """Return time and memory of kernels written to a file."""
    rows = []
    for run in result("speed/tiled_gram")["runs"].values():
        sizes = [f"{run['memory_argument'] / 2**30:.1f} GiB", run["plan"]["scheme"], f"{run['seconds']:.0f} s"]
        rows.append([f"{run['examples']:,}", *sizes, number(run["ratio"]), f"{run['peak_resident_mib'] / 1024:.1f} GiB"])
    return lined(["examples", "`memory=`", "scheme", "time", "time / floor", "peak of the process"], rows)


def matrix_free() -> str:
    """Return what eigenvalues, trace and log-determinant cost without the matrix."""
    rows = []
    for run in result("speed/matrix_free")["runs"].values():
        trace, logdet, exact = run["trace"], run["logdet"], run.get("exact")
        times = [f"{seconds:.0f} s" for seconds in (run["eigenvalues"]["seconds"], trace["seconds"], logdet["seconds"])]
        found = [
            f"{exact['largest_relative_difference_of_eigenvalues']:.0e}" if exact else "-",
            f"{trace['estimate'][0]:.3g} ± {trace['estimate'][1]:.1g} ({trace['exact']:.3g})",
            f"{logdet['estimate'][0]:.0f} ± {logdet['estimate'][1]:.0f}" + (f" ({exact['logdet']:.0f})" if exact else ""),
        ]
        cells = [cell for pair in zip(times, found, strict=True) for cell in pair]
        rows.append([f"{run['examples']:,}", f"{run['product_seconds']:.1f} s", *cells, f"{run['peak_resident_mib'] / 1024:.1f} GiB"])
    head = [
        "examples",
        "one product",
        "10 eigenvalues",
        "error",
        "trace",
        "estimate (exact)",
        "log-determinant",
        "estimate (exact)",
        "peak",
    ]
    return lined(head, rows)


def gram_memory() -> str:
    """Return the peak memory of a process that computes one kernel."""
    found = result("speed/gram_memory")["resident_mib"]
    rows = [[name, *(f"{found[name][of]:.0f} MiB" for of in ("before", "peak"))] for name in found]
    return lined(["method and examples", "before", "peak"], rows)


def sweep_memory() -> str:
    """Return the resident memory over a sweep."""
    found = result("speed/sweep_memory")["resident_mib"]
    return lined(["architectures scored", *found], [["resident memory, MiB", *(f"{value:.0f}" for value in found.values())]])


def gram_models(left_out: Collection[str] = ()) -> str:
    """Return the speed of the kernel of models that other people wrote."""
    rows = []
    for key, facts in result("speed/gram_models")["models"].items():
        if key in left_out:
            continue
        rivals = []
        for name in ("vmap_grad", "neural_tangents"):
            ratio, wanted = facts["ratios"].get(f"{name} / gram"), facts["programs"].get(name, {}).get("temporary_gb")
            rivals.append(number(ratio["median"]) if ratio else f"asks for {wanted:.0f} GB" if wanted else "-")
        size, programs = facts["resolution"], facts["programs"]
        rows.append(
            [
                facts["model"],
                f"{facts['parameters'] / 1e6:.1f} M",
                f"{facts['examples']} of {size}x{size}" if size else f"{facts['examples']} texts",
                number(facts["ratios"]["gram / step"]["median"]),
                *rivals,
                number(programs["gram"]["compile_seconds"] / programs["step"]["compile_seconds"], 1),
                f"{facts['largest_relative_difference']:.0e}" if "largest_relative_difference" in facts else "-",
            ]
        )
    head = ["model", "parameters", "input", "kernel / step", "`vmap(grad)` / kernel", "neural-tangents / kernel", "compilation / step's"]
    return lined([*head, "difference"], rows)


def gram_models_front() -> str:
    """Return the same without those that a similar, slower one stands for."""
    return gram_models(("efficientnet_b0", "xception", "haiku_mobilenet", "flax_resnet18", "nnx_scanned"))


def torch_parity() -> str:
    """Return the largest relative difference from PyTorch of each quantity, over the cells."""
    rows = result("parity/torch_parity")["rows"]
    kinds = list(dict.fromkeys(row["dtype"] for row in rows))
    lines = []
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        cells = [quantity]
        for kind in kinds:
            found = [row for row in rows if (row["quantity"], row["dtype"]) == (quantity, kind)]
            cells += [
                f"{max(row['relative'] for row in found):.0e}",
                number(statistics.median(row["ours_by_torch"]["median"] for row in found)),
            ]
        lines.append(cells)
    return lined(["quantity", *(text for kind in kinds for text in (f"{kind}: difference", f"{kind}: our time / PyTorch's"))], lines)


def reference_training() -> str:
    """Return the validation accuracy of each epoch that was trained."""
    found = result("training/reference_training")
    curves = found["training"]["curves"]
    rows = [[str(at), number(100 * curve["validation_accuracy"], 1)] for at, curve in enumerate(curves, start=1)]
    return lined([f"epoch ({found['dataset']['train_images']:,} images)", "validation accuracy, %"], rows)


def first_run() -> str:
    """Return what the README's first command found, one row per seed."""
    rows = []
    for run in result("search/first_run")["runs"]:
        accuracies = (number(100 * run[f"{part}_accuracy"], 1) for part in ("validation", "test"))
        rows.append([str(run["seed"]), *accuracies, f"{run['parameters'] / 1e6:.2f} M", f"{run['seconds']:.0f}"])
    return lined(["seed", "validation accuracy, %", "test accuracy, %", "parameters of the cell found", "seconds"], rows)


_MADE = (
    *(whole_space, whole_space_reachable, whole_space_seeds, score_cost, consensus_cost, knas_rankings, hybrid),
    *(
        proxies,
        choice,
        published,
        whole,
        mgm_correlation,
        figure2,
        estimators,
        darts_correlation,
        darts_correlation_observed,
        flexibert,
        tenas_study,
    ),
    *(first_run, table1, table1_seconds, weight_sharing, rivals, tenas_search, tenas_seconds, table2, table2_wirings),
    *(
        gram_models,
        gram_models_front,
        mgm_speed,
        text_speed,
        supernet_step,
        gram_speed,
        gram_speed_plain,
        gram_speed_coupled,
        gram_parts,
        tiled_gram,
        matrix_free,
        gram_memory,
        sweep_memory,
        torch_parity,
        reference_training,
        text_fine_tuning,
    ),
)
TABLES: Mapping[str, Callable[[], str]] = {function.__name__: function for function in _MADE}


def about(name: str) -> str:
    """Return the docstring of a benchmark (question, command, expected figures, minutes) and the machine of its recorded result."""
    path = HERE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if text is None:
        raise ValueError(f"{path} has no docstring; say its question, command, expected figures and minutes")
    title, _, body = text.partition("\n")
    lines = [f"**{title}** ([`{name}.py`]({name}.py))", "", "```text", body.strip(), "```"]
    if path.with_suffix(".json").exists():
        recorded = result(name)
        versions, machine = recorded["versions"], recorded["machine"]
        cores = f"{machine['cores']} core{'s'[: machine['cores'] != 1]}"
        lines += ["", f"Recorded in [`{name}.json`]({name}.json): {machine['device']}, {cores}, jax {versions['jax']}."]
    return "\n".join(lines)


def table(name: str) -> str:
    """Return a table, or that nothing is recorded for it."""
    try:
        return TABLES[name]()
    except FileNotFoundError:
        return "Not measured."


def written(text: str) -> str:
    """Return a page with its tables and descriptions made anew.

    Raises:
        KeyError: a marker names no table.
        FileNotFoundError: a marker names no benchmark.
    """
    text = _TABLE.sub(lambda found: f"{found[1]}\n{table(found[2])}\n{found[3]}", text)
    return _ABOUT.sub(lambda found: f"{found[1]}\n{about(found[2])}\n{found[3]}", text)


def main() -> None:
    """Write both pages, or say whether they would change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not what the results say")
    options = parser.parse_args()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = written(text)
        if not options.check:
            page.write_text(new, encoding="utf-8")
        elif new != text:
            sys.exit(f"{page}: its tables are not those of the recorded results: run python -m benchmarks.readme_tables")


if __name__ == "__main__":
    main()
