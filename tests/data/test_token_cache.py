"""Tokens on disk: a task is tokenised once, and again when anything that decides its tokens changes."""

import random
from pathlib import Path

import numpy as np
import pytest

from jknas.data import load, token_cache
from jknas.data.tokenizer import PairTokenizer

pytest.importorskip("tokenizers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JKNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Return a list that grows with every split that is tokenised."""
    found, encode = [], PairTokenizer.encode
    monkeypatch.setattr(PairTokenizer, "encode", lambda self, pairs, **options: found.append(len(pairs)) or encode(self, pairs, **options))
    return found


def arrays(dataset):
    return [dataset.split(split)[0] for split in ("train", "validation", "test")]


def same(one, two):
    return all(map(np.array_equal, arrays(one), arrays(two))) and (one.digest, one.vocabulary) == (two.digest, two.vocabulary)


def test_a_task_is_tokenised_once(folder, tokenizer, cache, calls, monkeypatch):
    first = load(folder, tokenizer=tokenizer)
    assert calls == [40, 16, 12]
    assert len(list(cache.iterdir())) == 1

    def refuse(*_, **__):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(PairTokenizer, "encode", refuse)
    monkeypatch.setattr("jknas.data.pairs.read_tokenizer", refuse)
    second = load(folder, tokenizer=tokenizer)
    assert same(first, second)
    assert (second.tokenizer, second.resolution) == (first.tokenizer, first.resolution)
    assert second.x_train.dtype == np.int32


def test_the_file_holds_plain_arrays(folder, tokenizer, cache):
    dataset = load(folder, tokenizer=tokenizer)
    (path,) = cache.iterdir()
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found.files) == ["test", "train", "validation", "vocabulary"]
        np.testing.assert_array_equal(found["train"], dataset.x_train)
        assert found["vocabulary"] == 25


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_changed_byte_of_the_task_is_tokenised_again(folder, tokenizer, calls, name):
    before = load(folder, tokenizer=tokenizer)
    path = folder / f"{name}.tsv"
    content = bytearray(path.read_bytes())
    place = content.index(b"a", content.index(b"\n"))  # in a word of the first pairs
    content[place] = ord("o")
    path.write_bytes(content)
    calls.clear()
    after = load(folder, tokenizer=tokenizer)
    assert calls == [40, 16, 12]
    changed = {"train": 0, "dev": 1, "test": 2}[name]
    assert [np.array_equal(*pair) for pair in zip(arrays(before), arrays(after), strict=True)] == [place != changed for place in range(3)]


def test_whatever_else_decides_the_tokens_is_part_of_the_name(folder, tokenizer, cache, calls, monkeypatch):
    load(folder, tokenizer=tokenizer)
    for number, options in enumerate(({"resolution": 9}, {"limit": (10, 3)}, {"limit": (10, 4)}), start=2):
        load(folder, tokenizer=tokenizer, **options)
        assert len(calls) == 3 * number
    text = (tokenizer / "tokenizer.json").read_text()
    (tokenizer / "tokenizer.json").write_text(text.replace('"dog"', '"cow"'))
    load(folder, tokenizer=tokenizer)
    assert len(calls) == 15
    (tokenizer / "tokenizer.json").write_text(text)
    for name, value in (("_FORMAT", 0), ("_version", lambda: "0.1")):
        monkeypatch.setattr(token_cache, name, value)
        load(folder, tokenizer=tokenizer)
    assert len(calls) == 21
    assert len(list(cache.iterdir())) == 7
    (folder / "test.tsv").unlink()
    load(folder, tokenizer=tokenizer)
    assert len(calls) == 24


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "other rows", "other type", "no vocabulary"])
def test_a_damaged_file_is_made_again(folder, tokenizer, cache, calls, damage):
    whole = load(folder, tokenizer=tokenizer)
    (path,) = cache.iterdir()
    sound = path.read_bytes()
    splits = dict(zip(("train", "validation", "test"), arrays(whole), strict=True)) | {"vocabulary": np.array(25)}
    chance = random.Random(0)
    for _ in range(10 if damage in ("cut", "flipped") else 1):
        content = bytearray(sound)
        if damage in ("empty", "text"):
            content = bytearray(b"" if damage == "empty" else b"no archive")
        elif damage == "cut":
            content = content[: chance.randrange(1, len(content))]
        elif damage == "flipped":
            content[chance.randrange(60, len(content) // 3)] ^= 0xFF  # in the tokens of the training pairs
        path.write_bytes(content)
        if damage == "other rows":
            np.savez(path, **splits | {"train": whole.x_train[:-1]})
        elif damage == "other type":
            np.savez(path, **splits | {"train": whole.x_train.astype(np.int64)})
        elif damage == "no vocabulary":
            np.savez(path, **{name: array for name, array in splits.items() if name != "vocabulary"})
        calls.clear()
        assert same(load(folder, tokenizer=tokenizer), whole)
        assert len(calls) == 3
        calls.clear()
        assert same(load(folder, tokenizer=tokenizer), whole)
        assert not calls


def test_a_folder_that_cannot_be_written_keeps_nothing(folder, tokenizer, cache, calls):
    cache.parent.write_text("a file")
    first, second = (load(folder, tokenizer=tokenizer) for _ in range(2))
    assert same(first, second)
    assert len(calls) == 6


def test_the_folder(monkeypatch, tmp_path):
    assert token_cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("JKNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert token_cache.cache_folder().name == "jknas"
    monkeypatch.setenv("JKNAS_CACHE", "~/kept")
    assert token_cache.cache_folder() == Path.home() / "kept"
