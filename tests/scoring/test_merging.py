import math

import pytest
from score_records import make_key, make_record, write_store

from jknas.errors import StoreError
from jknas.scoring.merging import merge
from jknas.scoring.store import Store


def numbers(path):
    with Store(path) as store:
        return {record.key.genotype: (record.score, record.status, record.seconds) for record in store.records()}


@pytest.fixture
def parts(tmp_path):
    """Two stores that share the scores 2 and 3; the later one took longer for them."""
    one = write_store(tmp_path / "one", *(make_record(number, float(number)) for number in (0, 1, 2)), make_record(3, math.nan, "failed"))
    other = [make_record(2, 2.0, seconds=9.0), make_record(3, math.nan, "failed", seconds=9.0), make_record(4, 4.0)]
    return one, write_store(tmp_path / "two", *other)


def test_every_score_is_there_once(parts, tmp_path, monkeypatch):
    monkeypatch.setattr("jknas.scoring.merging._ROWS_AT_ONCE", 2)
    merged = merge(parts, tmp_path / "all")
    assert merged.read == {str(parts[0]): 4, str(parts[1]): 3}
    assert (merged.written, merged.equal, merged.different, merged.example) == (5, 2, 0, None)
    found = numbers(tmp_path / "all")
    assert list(found) == [f"cell {number}" for number in range(5)]
    assert found["cell 2"] == (2.0, "ok", 0.25)  # the first one stays, with its seconds
    assert sorted(file.name for file in tmp_path.iterdir()) == ["all", "one", "two"]


def test_the_sources_stay_as_they_are(parts, tmp_path):
    before = [path.read_bytes() for path in parts]
    merge(parts, tmp_path / "all")
    assert [path.read_bytes() for path in parts] == before


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (make_record(1, math.nextafter(1.0, 2.0)), r"is 1.0 \(ok\) in .*one and 1.0000000000000002 \(ok\) in .*three"),
        (make_record(1, 1.0, "dead"), r"is 1.0 \(ok\) in .*one and 1.0 \(dead\) in .*three"),
        (make_record(1, math.nan, "non_finite"), r"is 1.0 \(ok\) in .*one and nan \(non_finite\) in .*three"),
    ],
    ids=["last bit", "status", "NaN"],
)
def test_another_number_is_refused_and_named(parts, tmp_path, other, words):
    three = write_store(tmp_path / "three", other)
    with pytest.raises(StoreError, match=rf"the stores differ: cell 1 by mgm \(seed 0, digits\) {words}\. Nothing was written; choose by"):
        merge([*parts, three], tmp_path / "all")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith("all")]


def test_how_many_differ(parts, tmp_path):
    three = write_store(tmp_path / "three", *(make_record(number, 9.0) for number in (4, 2, 1)))
    with pytest.raises(StoreError, match=r"cell 4 by mgm .* is 4\.0 \(ok\) in .*two and 9\.0 .*, and 2 more scores differ"):
        merge([*parts, three], tmp_path / "all")


@pytest.mark.parametrize(("keep", "expected"), [("first", 1.0), ("last", 9.0)])
def test_which_one_to_keep(parts, tmp_path, keep, expected):
    three = write_store(tmp_path / "three", make_record(1, 9.0), make_record(5, 5.0))
    merged = merge([*parts, three], tmp_path / "all", keep=keep)
    assert (merged.written, merged.different, merged.example.key) == (6, 1, make_key(1))
    assert numbers(tmp_path / "all")["cell 1"][0] == expected


def test_keys_that_differ_in_one_field_are_no_duplicates(tmp_path):
    one = write_store(tmp_path / "one", make_record())
    two = write_store(tmp_path / "two", make_record(score=2.0, key=make_key(seed=1)), make_record(score=3.0, key=make_key(revision=2)))
    assert merge([one, two], tmp_path / "all").written == 3


class TestRefusals:
    def test_a_target_that_exists(self, parts, tmp_path):
        before = parts[1].read_bytes()
        with pytest.raises(StoreError, match="two exists already: give the name of a new file; to add to a store, name it among"):
            merge(parts, parts[1])
        assert parts[1].read_bytes() == before

    def test_a_folder_that_is_not_there(self, parts, tmp_path):
        with pytest.raises(StoreError, match="is not a folder; make it first"):
            merge(parts, tmp_path / "absent" / "all")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "is not there: give a store of scores"),
            (b"", "is empty: give a store of scores"),
            (b"no store at all" * 300, "is damaged, or is no score store"),
        ],
        ids=["missing", "empty", "no store"],
    )
    def test_a_source(self, parts, tmp_path, content, words):
        if content is not None:
            (tmp_path / "bad").write_bytes(content)
        with pytest.raises(StoreError, match=words):
            merge([*parts, tmp_path / "bad"], tmp_path / "all")
        assert (tmp_path / "bad").exists() is (content is not None)
        assert not (tmp_path / "all").exists()

    def test_no_source_and_another_word(self, parts, tmp_path):
        with pytest.raises(StoreError, match="no store to merge"):
            merge([], tmp_path / "all")
        with pytest.raises(StoreError, match="Unknown score to keep 'newest'; expected one of first, last"):
            merge(parts, tmp_path / "all", keep="newest")
