import json
import sqlite3

import pytest
from score_records import make_record, write_store


@pytest.fixture
def refused(run):
    def call(*arguments):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        return err

    return call


@pytest.fixture
def store(tmp_path):
    records = [make_record(number) for number in range(3)] + [make_record(3, float("nan"), "failed", device="gpu: H200")]
    return write_store(tmp_path / "scores.sqlite", *records)


def test_info(run, store):
    code, out, err = run("store", "info", store, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["scores"], facts["seconds"], facts["devices"]) == (4, 1.0, {"cpu": 3, "gpu: H200": 1})
    assert facts["versions"] == [{"scores": 4, "versions": {"jax": "0.10.1"}}]
    (group,) = facts["groups"]
    assert group["settings"] == {"batch": 64, "objective": "loss"}
    assert (group["scores"], group["statuses"], group["mean_seconds"]) == (4, {"ok": 3, "failed": 1}, 0.25)
    code, out, err = run("store", "info", store)
    assert (code, err) == (0, "")
    assert "1 failed" in out
    assert "3 on cpu, 1 on gpu: H200" in out


def test_info_of_a_store_without_scores(run, tmp_path):
    code, out, _ = run("store", "info", write_store(tmp_path / "none"), "--json")
    assert (code, json.loads(out)["groups"]) == (0, [])


def test_export(run, store, tmp_path):
    code, out, err = run("store", "export", store, "--out", tmp_path / "scores.csv")
    assert (code, err) == (0, "")
    assert "4 scores written into" in out
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5


def test_merge(run, store, tmp_path):
    other = write_store(tmp_path / "other", make_record(2), make_record(7))
    code, out, err = run("store", "merge", store, other, "--out", tmp_path / "all", "--json")
    assert (code, err) == (0, "")
    merged = json.loads(out)
    assert (merged["read"], merged["written"], merged["equal"]) == ({str(store): 4, str(other): 2}, 5, 1)
    assert json.loads(run("store", "info", tmp_path / "all", "--json")[1])["scores"] == 5


def test_merge_of_stores_that_differ(run, refused, store, tmp_path):
    other = write_store(tmp_path / "other", make_record(2, 7.0))
    assert "cell 2 by mgm (seed 0, digits) is 1.5 (ok) in" in refused("store", "merge", store, other, "--out", tmp_path / "all")
    code, out, _ = run("store", "merge", store, other, "--out", tmp_path / "all", "--keep", "last")
    assert code == 0
    assert "came again, different (kept: last)" in out
    assert "choose" not in out


@pytest.mark.parametrize(
    "arguments",
    [["info", "{bad}"], ["export", "{bad}", "--out", "{new}.csv"], ["merge", "{good}", "{bad}", "--out", "{new}"]],
    ids=["info", "export", "merge"],
)
class TestBadStores:
    def call(self, refused, arguments, tmp_path, store):
        found = {"bad": tmp_path / "bad", "good": store, "new": tmp_path / "new"}
        message = refused("store", *(argument.format(**found) for argument in arguments))
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]
        return message

    def test_one_that_is_not_there(self, refused, arguments, tmp_path, store):
        assert "bad is not there: give a store of scores" in self.call(refused, arguments, tmp_path, store)
        assert not (tmp_path / "bad").exists()

    @pytest.mark.parametrize("content", [b"", b"#" * 5000], ids=["empty", "no store"])
    def test_one_that_is_none(self, refused, arguments, tmp_path, store, content):
        (tmp_path / "bad").write_bytes(content)
        assert ("is no score store" if content else "is empty") in self.call(refused, arguments, tmp_path, store)
        assert (tmp_path / "bad").read_bytes() == content

    def test_a_damaged_one(self, refused, arguments, tmp_path, store):
        whole = write_store(tmp_path / "bad", *(make_record(number, extras={"text": "x" * 2000}) for number in range(40))).read_bytes()
        (tmp_path / "bad").write_bytes(whole[: len(whole) // 2])
        assert "is damaged" in self.call(refused, arguments, tmp_path, store)
        assert (tmp_path / "bad").read_bytes() == whole[: len(whole) // 2]

    def test_one_of_a_later_release(self, refused, arguments, tmp_path, store):
        connection = sqlite3.connect(write_store(tmp_path / "bad", make_record()))
        connection.execute("PRAGMA user_version = 4")
        connection.close()
        assert "has schema version 4" in (message := self.call(refused, arguments, tmp_path, store))
        assert "upgrade jknas" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "{store}", "--out", "{store}"], "expected a name that ends in .csv"),
        (["export", "{store}", "--out", "{taken}"], "exists already"),
        (["merge", "{store}", "--out", "{store}"], "exists already"),
        (["merge", "{store}", "--out", "{store}2", "--keep", "best"], "Unknown score to keep 'best'"),
        (["merge", "--out", "{store}2"], "STORE"),
        (["export", "{store}"], "--out"),
    ],
)
def test_refusals(refused, store, tmp_path, arguments, words):
    (tmp_path / "taken.csv").write_text("mine")
    found = {"store": store, "taken": tmp_path / "taken.csv"}
    assert words in refused("store", *(argument.format(**found) for argument in arguments))
    assert (tmp_path / "taken.csv").read_text() == "mine"


def test_join(run, refused, tmp_path):
    options = ("score", "--sample", "4", "--channels", "2", "--cells", "1", "--seed", "0")
    for proxy in ("params", "conv_count"):
        assert run(*options, "--proxy", proxy, "--scores", tmp_path / f"{proxy}.csv")[0] == 0
    tables = (tmp_path / "params.csv", tmp_path / "conv_count.csv")
    code, out, err = run("store", "join", *tables, "--out", tmp_path / "both.csv.gz", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["columns"] == ["conv_count:0", "params:0"]
    assert json.loads(out)["architectures"] == 4
    assert "stands in" in refused("store", "join", tables[0], tables[0], "--out", tmp_path / "twice.csv")
