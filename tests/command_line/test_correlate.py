import csv
import json
import math

import numpy as np
import pytest
import tables
from PIL import Image
from scipy import stats

from jknas import cli, proxies
from jknas.command_line import correlate, options
from jknas.data import catalogue
from jknas.proxies import Proxy
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
        proxy = Proxy(name, made_up, "sum", "none", "none", needs_network=False, higher_is_better=better)
        monkeypatch.setitem(proxies.REGISTRY, name, proxy)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take longer than everything else."""
    monkeypatch.setattr(correlation_drawing, "draw_ranks", lambda panels, *paths, name: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with trained accuracies and a list of architectures; JKNAS_DATA."""
    place = tmp_path / "data"
    place.mkdir()
    tables.write_table(place)
    (place / "archs").write_text("".join(f"{genotype_at(index)}\n" for index in CELLS))
    monkeypatch.setenv("JKNAS_DATA", str(place))
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
    assert {name for _, _, name in rows} == {"mgm", "params", "macs", "random"}
    table = tables.write_table(tmp_path)  # the same numbers again
    accuracies = [table[index, "cifar10_test_acc_200ep"] for index in CELLS]
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
        f"{name}.{suffix}" for name in ("mgm", "params", "macs", "random") for suffix in ("png", "svg")
    }


@pytest.mark.usefixtures("quick")
class TestMadeUpScores:
    @pytest.mark.usefixtures("undrawn")
    def test_signs_and_aggregates(self, run, tmp_path):
        assert run("--proxy", "quick,tenas_rank_sum")[0] == 0
        rows = rows_of(result(tmp_path))
        assert {name for _, _, name in rows} == {"quick", "tenas_rank_sum", "tenas_condition", "linear_regions", "params", "macs", "random"}
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
        monkeypatch.setitem(proxies.REGISTRY, "quick", Proxy("quick", pytest.fail, "sum", "none", "none", needs_network=False))
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
        tables.write_table(folder, indices=range(cells))
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
            (["--against", "cifar1000"], "Unknown data set of --against 'cifar1000'; expected one of cifar10, cifar100"),
            (["--space", "darts"], "trained accuracies are those of 'nasbench201'"),
            (["--arch", "#40"], "has no row for |"),
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


def test_no_table_is_refused_first(run, monkeypatch, tmp_path):
    monkeypatch.delenv("JKNAS_DATA")
    code, _, err = run("--data", "mnist")
    assert code == 2
    assert "set the environment variable JKNAS_DATA to the folder that holds nasbench201.csv.gz" in err
    assert not (tmp_path / "out").exists()


def test_images_without_trained_accuracies_need_a_target(folder, tmp_path, capfd):
    arguments = ["correlate", "--archs", folder / "archs", "--data", "digits", *TINY, "--out", tmp_path / "out"]
    assert cli.run([str(argument) for argument in arguments]) == 2
    assert (
        "--data digits is none of the data sets that the architectures were trained on; say with --against cifar10, cifar100"
        in capfd.readouterr().err
    )


def test_every_set_of_images_but_the_digits_belongs_to_a_target():
    assert set(correlate.TARGETS) == {one.name for one in catalogue.available()} - {"digits"}


def test_the_help_names_every_aggregate():
    assert tuple(options.AGGREGATE_NAMES.split(", ")) == aggregates.names()
