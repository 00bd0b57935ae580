import csv
import json
import math

import flexibert_records
import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from jknas import cli, data, proxies, spaces, tabular
from jknas.command_line import options
from jknas.proxies import NetworkProxy, SizeProxy
from jknas.ranking import aggregates
from jknas.report import correlation_drawing
from jknas.scoring.store import Store
from jknas.spaces.nasbench201.index import genotype_at, index_of

TINY = ["--channels", "2", "--cells", "1", "--resolution", "8", "--limit", "40,20"]
CELLS = range(30)
FILES = {"correlations.json", "correlations.csv", "correlations.md", "figures", "scores.sqlite"}


def made_up(space, genotype, network, resolution):
    """Need no network; NaN for codes that begin with 4."""
    del space, network, resolution
    return math.nan if genotype.code[0] == 4 else sum(place * digit for place, digit in enumerate(genotype.code, start=1))


@pytest.fixture
def quick(monkeypatch):
    for name, better in (("quick", True), ("tenas_condition", False), ("linear_regions", True)):
        proxy = SizeProxy(name=name, count=made_up, summary="sum", reference="none", cost="none", higher_is_better=better)
        monkeypatch.setitem(proxies.REGISTRY, name, proxy)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take longer than everything else."""
    monkeypatch.setattr(correlation_drawing, "draw_ranks", lambda panels, *paths, name: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a list of architectures; no environment variable."""
    monkeypatch.delenv("JKNAS_DATA", raising=False)
    place = tmp_path / "data"
    place.mkdir()
    (place / "archs").write_text("".join(f"{genotype_at(index)}\n" for index in CELLS))
    return place


@pytest.fixture
def run(capfd, folder, tmp_path):
    def call(*arguments, out="out"):
        capfd.readouterr()
        given = ["correlate", "--archs", folder / "archs", "--data", "digits", "--against", "cifar10", "--resamples", 20, *TINY]
        code = cli.run([str(argument) for argument in [*given, *arguments, "--out", tmp_path / out]])
        return code, *capfd.readouterr()

    return call


def result(tmp_path, out="out"):
    return json.loads((tmp_path / out / "correlations.json").read_text(), parse_constant=pytest.fail)


def rows_of(found):
    return {(row["data"], row["against"], row["name"]): row for row in found["rows"]}


@pytest.mark.slow
def test_a_proxy_beside_the_null_models(run, tmp_path):
    code, out, _ = run("--proxy", "mgm,params", "--batch", 8)
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("scores.sqlite-")} == FILES
    assert "digits against cifar10" in out
    found = result(tmp_path)
    rows = rows_of(found)
    assert {name for _, _, name in rows} == {"mgm", "params", "macs", "conv_count", "random"}
    table = tabular.load()
    accuracies = [table.accuracy(genotype_at(i), dataset="cifar10", split="test", epochs=200, seeds="mean").mean for i in CELLS]
    with Store(tmp_path / "out" / "scores.sqlite") as store:
        records = {index_of(next(g for g in map(genotype_at, CELLS) if str(g) == r.key.genotype)): r for r in store.records(proxy="mgm")}
    scores = [records[index].score if records[index].status == "ok" else -math.inf for index in CELLS]
    mgm = rows["digits", "cifar10", "mgm"]
    assert mgm["spearman"] == pytest.approx(stats.spearmanr(scores, accuracies).statistic)
    assert mgm["spearman_low"] <= mgm["spearman"] <= mgm["spearman_high"]
    assert (mgm["n"], mgm["kind"], mgm["split"], mgm["epochs"]) == (30, "proxy", "test", 200)
    assert mgm["not_ok"] == sum(mgm["statuses"].values()) == sum(math.isinf(score) for score in scores)
    assert found["settings"]["seed"] == 0
    assert {"versions", "device", "table", "datasets"} <= found.keys()
    assert found["parts"][0]["spearman"] == {}  # half of 30 architectures is no part worth having
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("mgm", "params", "macs", "conv_count", "random") for suffix in ("png", "svg")
    }


@pytest.mark.usefixtures("quick")
class TestMadeUpScores:
    @pytest.mark.usefixtures("undrawn")
    def test_signs_and_aggregates(self, run, tmp_path):
        assert run("--proxy", "quick,tenas_rank_sum")[0] == 0
        rows = rows_of(result(tmp_path))
        expected = {"quick", "tenas_rank_sum", "tenas_condition", "linear_regions", "params", "macs", "conv_count", "random"}
        assert {name for _, _, name in rows} == expected
        of = {name: row for (_, _, name), row in rows.items()}
        assert of["quick"]["spearman"] == of["linear_regions"]["spearman"]
        assert of["quick"]["spearman"] != of["tenas_condition"]["spearman"]
        assert of["tenas_rank_sum"]["kind"] == "aggregate"
        assert of["tenas_rank_sum"]["median_ms"] == "nan"
        assert of["quick"]["not_ok"] > 0
        assert of["quick"]["statuses"]["non_finite"] > 0
        assert of["tenas_rank_sum"]["not_ok"] == of["quick"]["not_ok"]  # both members lack the same

    def test_nothing_is_computed_twice(self, run, tmp_path, monkeypatch):
        assert run("--proxy", "quick", "--db", tmp_path / "scores", "--json")[0] == 0
        first = result(tmp_path)
        quick = SizeProxy(name="quick", count=pytest.fail, summary="sum", reference="none", cost="none")
        monkeypatch.setitem(proxies.REGISTRY, "quick", quick)
        code, out, err = run("--proxy", "quick", "--db", tmp_path / "scores", "--json", out="again")
        assert (code, err) == (0, "")
        assert result(tmp_path, "again") == first
        assert [json.loads(line) for line in out.splitlines()] == first["rows"]
        for name in ("quick.svg", "quick.png"):
            assert (tmp_path / "again" / "figures" / name).read_bytes() == (tmp_path / "out" / "figures" / name).read_bytes()

    @pytest.mark.usefixtures("undrawn")
    def test_several_data_sets_and_targets(self, run, tmp_path):
        images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
        labels = np.arange(60, dtype=np.int32) % 10
        own = tmp_path / "own.npz"
        np.savez(own, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
        arguments = ("--proxy", "quick", "--data", own, "--against", "imagenet16-120,cifar10")
        assert run(*arguments)[0] == 0
        rows = rows_of(result(tmp_path))
        assert {(data, against) for data, against, _ in rows} == {
            (data, against) for data in ("digits", "own.npz") for against in ("cifar10", "imagenet16-120")
        }
        assert rows["digits", "cifar10", "quick"]["spearman"] == rows["own.npz", "cifar10", "quick"]["spearman"]
        assert rows["digits", "cifar10", "quick"]["spearman"] != rows["digits", "imagenet16-120", "quick"]["spearman"]
        assert (tmp_path / "out" / "correlations.md").read_text().count("## ") == 4

    @pytest.mark.usefixtures("undrawn")
    def test_texts(self, run, tmp_path):
        assert run("--proxy", "quick")[0] == 0
        found = result(tmp_path)["rows"]
        assert [row["spearman"] for row in found] == sorted((row["spearman"] for row in found), reverse=True)
        lines = list(csv.DictReader((tmp_path / "out" / "correlations.csv").read_text().splitlines()))
        assert [line["name"] for line in lines] == [row["name"] for row in found]
        assert [float(line["spearman"]) for line in lines] == [row["spearman"] for row in found]
        text = (tmp_path / "out" / "correlations.md").read_text()
        assert f"| {found[0]['name']} | {found[0]['spearman']:.3f} [" in text
        assert text.startswith("## digits against cifar10 (test, 200 epochs)\n\n| score | Spearman |")

    @pytest.mark.usefixtures("undrawn")
    @pytest.mark.parametrize(("cells", "size"), [(60, 30), (410, 200)])
    def test_parts_of_a_larger_pool(self, run, folder, tmp_path, cells, size):
        (folder / "archs").write_text("".join(f"{genotype_at(index)}\n" for index in range(cells)))
        assert run("--proxy", "quick")[0] == 0
        (parts,) = result(tmp_path)["parts"]
        assert (parts["repetitions"], parts["size"], len(parts["spearman"]["quick"])) == (50, size, 50)
        assert len(set(parts["spearman"]["quick"])) > 1
        page = np.asarray(Image.open(tmp_path / "out" / "figures" / "parts.png").convert("RGB"))
        assert len(np.unique(page.reshape(-1, 3), axis=0)) > 3  # background, words and at least one curve
        assert 0.005 < (page < 250).any(-1).mean() < 0.5

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--proxy", "quic"], "Unknown proxy or aggregate 'quic'; expected one of"),
            (["--proxy", ","], "no proxy is named; choose among"),
            (["--against", "cifar1000"], "Unknown data set of --target 'cifar1000'; expected one of cifar10, cifar100"),
            (["--space", "darts"], "trained accuracies are those of 'nasbench201'"),
            (["--set", "x=1"], "has no setting 'x'"),
            (["--data", "mnist"], "unknown data set 'mnist'"),
            (["--folder", "/no/such/folder"], "which is not a folder"),
        ],
    )
    def test_refusals_come_before_anything_is_computed(self, run, tmp_path, arguments, words):
        code, _, err = run("--proxy", "quick", *arguments) if "--proxy" not in arguments else run(*arguments)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick", "undrawn")
class TestTargets:
    @pytest.fixture
    def call(self, folder, tmp_path, capfd):
        def call(*arguments):
            given = ["correlate", "--archs", folder / "archs", "--proxy", "quick", "--resamples", 5, *TINY, *arguments]
            code = cli.run([str(argument) for argument in [*given, "--out", tmp_path / "out"]])
            return code, capfd.readouterr().err

        return call

    def test_images_of_another_kind_are_compared_with_cifar10(self, call, tmp_path):
        assert call("--data", "digits")[0] == 0
        assert {(row["data"], row["against"]) for row in result(tmp_path)["rows"]} == {("digits", "cifar10")}

    def test_a_target_does_not_depend_on_the_images(self, call, tmp_path):
        assert call("--data", "digits", "--target", "cifar100,imagenet16-120")[0] == 0
        assert {row["against"] for row in result(tmp_path)["rows"]} == {"cifar100", "imagenet16-120"}

    def test_every_target_has_images_of_its_name(self):
        assert set(tabular.PROTOCOLS) < set(data.names())


@pytest.mark.usefixtures("quick", "undrawn")
class TestOwnTable:
    @pytest.fixture
    def own(self, tmp_path):
        path = tmp_path / "own.csv"

        def exact(genotype):  # what the proxy computes; -1 for what ranks last
            last = genotype.code[0] == 4 or spaces.get("nasbench201").is_dead(genotype)
            return -1 if last else sum(place * digit for place, digit in enumerate(genotype.code, start=1))

        rows = [f"{genotype_at(index)},{exact(genotype_at(index))},{index},x" for index in range(25)]
        path.write_text("\n".join(["genotype,exact,index,note", *rows]))
        return path

    @pytest.fixture
    def call(self, own, tmp_path, capfd, monkeypatch):
        monkeypatch.delenv("JKNAS_DATA", raising=False)

        def call(*arguments, table=own):
            capfd.readouterr()
            given = ["correlate", "--accuracies", table, "--data", "digits", "--proxy", "quick", "--resamples", 5, *TINY]
            code = cli.run([str(argument) for argument in [*given, *arguments, "--out", tmp_path / "out"]])
            return code, capfd.readouterr().err

        return call

    def test_its_columns_are_the_targets(self, call, tmp_path):
        assert call("--all", "--target", "exact,index")[0] == 0
        found = result(tmp_path)
        rows = rows_of(found)
        assert found["table"] == "own.csv"
        assert {against for _, against, _ in rows} == {"exact", "index"}
        exact = rows["digits", "exact", "quick"]
        assert (exact["n"], exact["split"], exact["epochs"]) == (25, None, None)
        assert exact["spearman"] == pytest.approx(1.0)
        assert rows["digits", "index", "quick"]["spearman"] < 0.9
        assert (tmp_path / "out" / "correlations.md").read_text().startswith("## digits against exact\n\n")

    def test_a_sample_is_one_of_its_rows(self, call, tmp_path):
        assert call("--sample", 10, "--target", "index")[0] == 0
        with Store(tmp_path / "out" / "scores.sqlite") as store:
            scored = {record.key.genotype for record in store.records(proxy="quick")}
        assert len(scored) == 10
        assert scored <= {str(genotype_at(index)) for index in range(25)}

    def test_any_space(self, call, tmp_path):
        space = spaces.get("darts")
        path = tmp_path / "darts.csv"
        genotypes = space.sample(np.random.default_rng(0), 6, unique=True)
        path.write_text("\n".join(["accuracy,genotype", *(f'{90 + i},"{one}"' for i, one in enumerate(genotypes))]))
        assert call("--space", "darts", "--all", "--proxy", "params", table=path)[0] == 0
        assert rows_of(result(tmp_path))["digits", "accuracy", "params"]["n"] == 6

    def test_a_benchmark_in_which_networks_share_a_score(self, call, tmp_path, monkeypatch):
        scored = []

        def counted(space, genotype, network, resolution):
            scored.append((genotype, network.channels))
            return made_up(space, genotype, network, resolution)

        proxy = SizeProxy(name="quick", count=counted, summary="sum", reference="none", cost="none")
        monkeypatch.setitem(proxies.REGISTRY, "quick", proxy)
        path, space = flexibert_records.write_benchmark(tmp_path / "BERT_benchmark.json"), spaces.get("flexibert")
        given = ["correlate", "--space", "flexibert", "--accuracies", path, "--data", "digits", "--proxy", "quick", "--resamples", 5]
        code = cli.run([str(argument) for argument in [*given, "--all", "--target", "glue,rte", "--out", tmp_path / "out"]])
        assert code == 0
        rows = rows_of(result(tmp_path))
        entries = [space.from_record(entry) for entry in flexibert_records.entries().values()]
        classes = [space.canonical(genotype) for genotype, _ in entries]
        assert rows["digits", "glue", "quick"]["n"] == len(entries) == 7
        assert sorted(scored) == sorted((one, 128) for one in set(classes)), "each once, at the published size"
        sums = [made_up(space, one, None, None) for one in classes]
        for target in ("glue", "rte"):
            expected = stats.spearmanr(sums, [scores[target] for _, scores in entries]).statistic
            assert rows["digits", target, "quick"]["spearman"] == pytest.approx(expected)
        assert result(tmp_path)["settings"]["channels"] == 128

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--all"], "own.csv has the columns exact, index, note: say which of them holds the accuracies"),
            (["--all", "--target", "cifar10"], "Unknown column of own.csv 'cifar10'; expected one of exact, index, note"),
            (["--all", "--target", "note"], "own.csv, column 'note': 'x' is not a finite number"),
            (["--arch", "#30", "--target", "exact"], "own.csv has no row for |"),
            (["--space", "darts", "--all"], "row 1: not a genotype of the space 'darts'"),
            (["--sample", 26, "--target", "exact"], "26 unique cells"),
        ],
    )
    def test_refusals(self, call, tmp_path, arguments, words):
        code, err = call(*arguments)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_a_table_that_is_none(self, call, tmp_path):
        (tmp_path / "bad.csv").write_text("arch,accuracy\nx,1\n")
        for path, words in (
            (tmp_path / "bad.csv", "expected one named 'genotype'"),
            (tmp_path / "gone.csv", "cannot be read as a CSV file"),
        ):
            code, err = call("--all", table=path)
            assert (code, err.count("\n")) == (2, 1)
            assert words in err


@pytest.mark.usefixtures("undrawn")
class TestTableOfScores:
    @pytest.fixture
    def call(self, tmp_path, capfd, monkeypatch):
        monkeypatch.delenv("JKNAS_DATA", raising=False)

        def call(*arguments):
            capfd.readouterr()
            code = cli.run([*map(str, arguments), "--out", str(tmp_path / "out")])
            return code, capfd.readouterr().err

        return call

    @pytest.fixture
    def scores(self, call, tmp_path, monkeypatch):
        """A table that `jknas score --scores` wrote: two made-up proxies of two seeds, of 60 architectures."""
        self.made_up(monkeypatch)
        path = tmp_path / "scores.csv.gz"
        space = spaces.get("nasbench201")
        cells = dict.fromkeys(space.canonical(genotype_at(index)) for index in range(60))
        (tmp_path / "archs").write_text("".join(f"{genotype}\n" for genotype in cells))
        command = ["score", "--dedup", "--proxy", "one,two", "--seeds", 2, "--archs", tmp_path / "archs", "--scores", path]
        assert cli.run([*map(str, command), *TINY, "--batch", "4"]) == 0
        return path

    @staticmethod
    def made_up(monkeypatch):
        def measure(network, params, wiring, batch, key):
            code, kind = jax.numpy.asarray(wiring), batch.x.dtype
            return code.astype(kind) @ jax.numpy.arange(1, 7).astype(kind) + 0.3 * batch.x.sum() * code[0].astype(kind)

        for name, better in (("one", True), ("two", False)):
            proxy = NetworkProxy(name=name, measure=measure, summary="s", reference="r", cost="c", higher_is_better=better)
            monkeypatch.setitem(proxies.REGISTRY, name, proxy)

    def rank(self, call, scores, tmp_path, *arguments):
        code, err = call("correlate", "--scores", scores, "--archs", tmp_path / "archs", "--resamples", 5, *arguments)
        assert code == 0, err
        return result(tmp_path)

    def test_it_ranks_all_that_the_table_holds(self, call, scores, tmp_path):
        found = self.rank(call, scores, tmp_path)
        rows = {row["name"]: row for row in found["rows"]}
        assert set(rows) == {"one", "two", "params", "macs", "conv_count", "random"}
        assert rows["one"]["spearman"] != rows["two"]["spearman"]  # of one more is better, of the other less
        assert rows["one"]["reliability"] == "nan"
        assert rows["params"]["kind"] == "null model"
        assert found["settings"]["scores"]["file"] == "scores.csv.gz"
        assert found["settings"]["channels"] == found["settings"]["scores"]["network"]["channels"]
        assert found["settings"]["proxies"]["one"] == found["settings"]["scores"]["columns"]["one:0"]["settings"]
        assert found["settings"]["seeds_of"] == {"one": [0], "two": [0]}
        assert found["settings"]["among"] == "all"

    def test_it_is_what_computing_gives(self, call, scores, tmp_path):
        looked_up = {row["name"]: row["spearman"] for row in self.rank(call, scores, tmp_path)["rows"]}
        computed = [
            "correlate",
            "--proxy",
            "one,two",
            "--data",
            "digits",
            "--archs",
            tmp_path / "archs",
            "--resamples",
            5,
            *TINY,
            "--batch",
            4,
        ]
        assert call(*computed)[0] == 0
        for row in result(tmp_path)["rows"]:
            assert row["spearman"] == pytest.approx(looked_up[row["name"]], abs=1e-12), row["name"]

    def test_a_proxy_that_is_not_known_here(self, call, scores, monkeypatch):
        monkeypatch.delitem(proxies.REGISTRY, "two")
        code, err = call("correlate", "--scores", scores)
        assert (code, err.count("\n")) == (2, 1)
        assert "has scores of two, which jknas does not know: name what to compare with --proxy" in err

    def test_expressions_and_seeds(self, call, scores, tmp_path):
        name = "log_rank(one,params)"
        found = self.rank(call, scores, tmp_path, "--proxy", f"{name},one", "--seeds", 2)
        rows = {row["name"]: row for row in found["rows"]}
        assert rows[name]["kind"] == "aggregate"
        assert 0 < rows[name]["reliability"] <= 1
        assert 0 < rows["one"]["reliability"] < 1
        assert found["settings"]["aggregates"] == {name: "log_rank(one, params)"}

    def test_a_named_part_of_the_space(self, call, scores, tmp_path):
        space = spaces.get("nasbench201")
        cells = [space.parse(line) for line in (tmp_path / "archs").read_text().splitlines()]
        kept = [genotype for genotype in cells if space.parts["reachable"](genotype)]
        (tmp_path / "archs").write_text("".join(f"{genotype}\n" for genotype in kept))
        found = self.rank(call, scores, tmp_path, "--among", "reachable")
        assert found["settings"]["among"] == "reachable"
        assert found["rows"][0]["n"] == len(kept) < len(cells)

    def test_refusals(self, call, scores, tmp_path):
        few = ("--archs", tmp_path / "archs")
        for arguments, words in (
            ((*few, "--data", "digits"), "--data does not apply with --scores"),
            ((*few, "--channels", 4), "--channels does not apply with --scores: the table says how its scores were computed"),
            ((*few, "--set", "batch=3"), "--set does not apply with --scores"),
            ((*few, "--init", "kaiming"), "--init does not apply with --scores"),
            ((*few, "--db", tmp_path / "s"), "--db does not apply with --scores"),
            (("--sample", 0), "--sample is 0; expected 1 or more architectures"),
            ((*few, "--seeds", 3), "has one by 2; ask for at most as many"),
            ((*few, "--proxy", "zen"), "has no scores of zen; it has one, two"),
            ((*few, "--proxy", "log_rank(one"), "a bracket or a comma is missing"),
            ((), "has no score of |"),  # all of the space
            ((*few, "--among", "living"), "Unknown part of nasbench201 'living'; expected one of reachable"),
            (("--space", "darts", "--accuracies", tmp_path / "archs", *few), ""),
        ):
            code, err = call("correlate", "--scores", scores, *arguments)
            assert code == 2, (arguments, err)
            assert words in err
        code, err = call("correlate", "--scores", tmp_path / "archs")
        assert (code, err.count("\n")) == (2, 1)
        assert "its first line does not say so" in err


def test_the_help_names_every_aggregate():
    assert tuple(options.AGGREGATE_NAMES.split(", ")) == aggregates.names()
