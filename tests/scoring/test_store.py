import json
import math
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from score_records import NETWORK, make_key, make_record

from jknas.errors import JsonTextError, StoreError
from jknas.files.json_text import export_json, read_json, write_json
from jknas.scoring.store import STATUSES, ScoreRecord, Store, canonical_json

IN_FOLDER = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.db"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> bytes:
    """The bytes of a closed store of 40 scores on several pages."""
    path = tmp_path_factory.mktemp("healthy") / "scores.db"
    with Store(path) as store:
        for number in range(40):
            store.put(make_record(number, extras={"text": "x" * 500}))
    assert sorted(file.name for file in path.parent.iterdir()) == ["scores.db"]
    return path.read_bytes()


class TestPutAndGet:
    def test_a_record_survives_closing(self, path):
        record = make_record(7, score=math.pi, extras={"spectrum": [1.0, 0.5], "floor": None, "nested": {"n": 3, "fast": True}})
        with Store(path) as store:
            assert store.get(record.key) is None
            assert store.put(record) is True
        with Store(path) as store:
            assert store.get(record.key) == record
            assert len(store) == 1

    def test_the_first_score_stays_unless_replaced(self, path):
        with Store(path) as store:
            assert store.put(make_record(score=1.0))
            assert not store.put(make_record(score=2.0))
            assert store.get(make_key()).score == 1.0
            assert store.put(make_record(score=3.0, status="dead", device="gpu"), replace=True)
            assert store.get(make_key()) == make_record(score=3.0, status="dead", device="gpu")
            assert len(store) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"space": "te"},
            {"genotype": "other"},
            {"proxy": "ntk"},
            {"settings": "{}"},
            {"dataset": "cifar10"},
            {"seed": 1},
            {"network": '{"cells":1}'},
        ],
    )
    def test_every_field_of_the_key_counts(self, path, change):
        with Store(path) as store:
            store.put(make_record())
            assert store.get(make_key(**change)) is None
            assert store.put(make_record(key=make_key(**change), score=9.0))
            assert (len(store), store.get(make_key()).score) == (2, 1.5)

    def test_missing_and_get_many_keep_the_order_and_answer_once(self, path):
        with Store(path) as store:
            for number in (1, 3):
                store.put(make_record(number))
            keys = [make_key(number) for number in (4, 3, 2, 1, 2)]
            assert store.missing(keys) == [make_key(4), make_key(2)]
            assert list(store.get_many(keys).items()) == [(make_key(3), make_record(3)), (make_key(1), make_record(1))]
            assert (store.missing([]), store.get_many([])) == ([], {})
            assert store.missing(iter(keys)) == [make_key(4), make_key(2)]

    def test_missing_is_quick_for_a_whole_space(self, path):
        keys = [make_key(number) for number in range(15_625)]
        with Store(path) as store:
            for number in range(0, 500, 2):
                store.put(make_record(number))
            started = time.perf_counter()
            missing = store.missing(keys)
            assert time.perf_counter() - started < 5  # 0.1 s here; a full scan for each key takes minutes
            assert len(missing) == 15_625 - 250

    def test_records_filters_and_pages(self, path, monkeypatch):
        monkeypatch.setattr("jknas.scoring.store._PAGE_OF_ROWS", 4)
        with Store(path) as store:
            for number in range(10):
                store.put(make_record(number, **({"score": math.nan, "status": "non_finite"} if number == 4 else {})))
            assert [record.extras["rank"] for record in store.records()] == list(range(10))
            assert [record.extras["rank"] for record in store.records(canonical="canonical 1")] == [1, 4, 7]
            assert [record.extras["rank"] for record in store.records(canonical="canonical 1", status="ok")] == [1, 7]
            assert [record.key for record in store.records(genotype="cell 5", seed=0, network=NETWORK)] == [make_key(5)]
            assert list(store.records(seed=1)) == []
            iterator = store.records()
            next(iterator)
            store.put(make_record(10))
            assert [record.extras["rank"] for record in iterator] == list(range(1, 11))
            with pytest.raises(StoreError, match="unknown status 'okay': expected one of ok, saturated, dead"):
                store.records(status="okay")


class TestNumbers:
    @given(score=st.floats(allow_subnormal=True), extra=st.floats())
    @IN_FOLDER
    def test_every_float_comes_back_with_its_bits_and_status(self, tmp_path, score, extra):
        status = "ok" if math.isfinite(score) else "non_finite"
        with Store(tmp_path / "floats.db") as store:
            store.put(make_record(score=score, status=status, extras={"x": extra, "list": [extra]}), replace=True)
        with Store(tmp_path / "floats.db") as store:
            record = store.get(make_key())
        for came, went in ((record.score, score), (record.extras["x"], extra), (record.extras["list"][0], extra)):
            assert isinstance(came, float)
            assert struct.pack("d", came) == struct.pack("d", went) or (math.isnan(came) and math.isnan(went))
        assert record.status == status

    @pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
    def test_non_finite_scores_are_not_null_in_the_file(self, path, score):
        with Store(path) as store:
            for status, number in (("non_finite", 1), ("dead", 2)):
                store.put(make_record(number, score=score, status=status))
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM scores WHERE score IS NULL").fetchall() == [(0,)]
        stored = connection.execute("SELECT DISTINCT score FROM scores").fetchall()
        connection.close()
        assert stored == [("nan" if math.isnan(score) else score,)]

    @pytest.mark.parametrize(
        ("status", "score", "message"),
        [
            ("ok", math.nan, "status 'ok' contradicts the score nan: expected 'non_finite' or 'dead'"),
            ("ok", math.inf, "contradicts the score inf"),
            ("non_finite", 2.0, "contradicts the score 2.0: expected 'ok' or 'dead'"),
            ("failed", 2.0, "expected another status, or the score NaN"),
            ("fine", 2.0, "unknown status 'fine': expected one of ok, saturated, dead, negative, non_finite, failed"),
            ("saturated", math.nan, "status 'saturated' contradicts the score nan: expected 'non_finite'"),
        ],
    )
    def test_a_status_that_lies_is_refused(self, status, score, message):
        with pytest.raises(StoreError, match=message):
            make_record(score=score, status=status)

    def test_the_statuses_are_these(self):
        assert STATUSES == ("ok", "saturated", "dead", "negative", "non_finite", "failed")
        assert make_record(score=math.nan, status="failed").status == "failed"
        assert make_record(score=0.0, status="dead").score == 0.0


class TestBadRecords:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"score": np.float32(1)}, r"score must be a Python float, got .* of type float32: use float\(...\)"),
            ({"score": 1}, "must be a Python float"),
            ({"seconds": math.nan}, "seconds must be finite and not negative"),
            ({"seconds": -1.0}, "seconds must be finite and not negative"),
            ({"key": "cell"}, "key must be a ScoreKey, got str"),
            ({"canonical": None}, "canonical must be a string"),
            ({"extras": [1]}, "extras must be a mapping, got list"),
        ],
    )
    def test_records(self, change, message):
        with pytest.raises(StoreError, match=message):
            make_record(**change)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"settings": {"batch": 64}}, "settings must be a string"),
            ({"settings": '{"b": 1}'}, r"settings must be canonical JSON .* write it with jknas.scoring.store.canonical_json"),
            ({"network": '{"b":1,"a":2}'}, "network must be canonical JSON"),
            ({"network": "not json"}, "network must be canonical JSON"),
            ({"settings": "[1]"}, "settings must be canonical JSON"),
            ({"seed": 2**63}, "seed must be an int of at most 64 bits"),
            ({"seed": True}, "seed must be an int"),
            ({"seed": 0.0}, "seed must be an int"),
            ({"genotype": "\ud800"}, "genotype has no UTF-8 text"),
        ],
    )
    def test_keys(self, change, message):
        with pytest.raises(StoreError, match=message):
            make_key(**change)

    def test_extras_without_json_text_write_nothing(self, path):
        with Store(path) as store:
            with pytest.raises(StoreError, match=r"'cell 0' cannot be stored: extras\['spectrum'\] has type ndarray.*\.tolist\(\)"):
                store.put(make_record(extras={"spectrum": np.ones(2)}))
            assert len(store) == 0


class TestCanonicalJson:
    def test_one_text_for_equal_settings(self):
        assert canonical_json({"b": 1, "a": (1.5, None, True, "é")}) == canonical_json({"a": (1.5, None, True, "é"), "b": 1})
        assert canonical_json({"b": 1, "a": (1.5, None, True)}) == '{"a":[1.5,null,true],"b":1}'
        assert canonical_json({"a": 1}) != canonical_json({"a": 1.0})

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda item: st.tuples(item, item),
    )

    @given(st.dictionaries(st.text(), json_values, max_size=4))
    @settings(max_examples=40)
    def test_what_it_writes_is_accepted_in_a_key(self, mapping):
        assert make_key(settings=canonical_json(mapping)).settings == canonical_json(mapping)

    @pytest.mark.parametrize(
        ("mapping", "message"),
        [
            ({"a": [1]}, "setting 'a' has type list: .* make a list a tuple"),
            ({"a": (1, np.int64(1))}, r"setting 'a' has type int64: .* \.item\(\)"),
            ({"a": math.inf}, "setting 'a' is inf: a setting must be finite; use None"),
            ({"a": {"b": 1}}, "setting 'a' has type dict"),
            ({1: 1}, "names must be strings, got 1 of type int"),
            ([("a", 1)], "settings must be a mapping of names to values, got list"),
        ],
    )
    def test_other_values_are_refused(self, mapping, message):
        with pytest.raises(JsonTextError, match=message):
            canonical_json(mapping)

    def test_non_finite_results_have_strict_json(self):
        text = write_json({"a": [math.nan, math.inf, -math.inf], "b": "nan"}, "extras")
        assert json.loads(text, parse_constant=pytest.fail) == {"a": [{"float": "nan"}, {"float": "inf"}, {"float": "-inf"}], "b": "nan"}
        back = read_json(text)
        assert (math.isnan(back["a"][0]), back["a"][1:], back["b"]) == (True, [math.inf, -math.inf], "nan")
        assert export_json({"a": -math.inf}) == '{"a": "-inf"}'
        with pytest.raises(JsonTextError, match="pass the float itself"):
            write_json({"a": {"float": "nan"}}, "extras")
        with pytest.raises(JsonTextError, match="not JSON text"):
            read_json("{")


def assert_refused_and_untouched(path: Path, message: str = "is damaged, or is no score store") -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        Store(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "left as it is" in str(error.value)
    assert path.read_bytes() == before


class TestBadFiles:
    @given(st.binary(min_size=1, max_size=3000))
    @IN_FOLDER
    def test_random_bytes(self, tmp_path, content):
        path = tmp_path / "scores.db"
        path.write_bytes(content)
        assert_refused_and_untouched(path)

    @given(st.binary(min_size=1, max_size=3000))
    @IN_FOLDER
    def test_random_bytes_behind_a_true_header(self, tmp_path, healthy, content):
        path = tmp_path / "scores.db"
        path.write_bytes(healthy[:100] + content)
        assert_refused_and_untouched(path)

    @given(st.data())
    @IN_FOLDER
    def test_truncation_anywhere(self, tmp_path, healthy, data):
        path = tmp_path / "scores.db"
        path.write_bytes(healthy[: data.draw(st.integers(1, len(healthy) - 1))])
        assert_refused_and_untouched(path)

    @given(st.data())
    @settings(IN_FOLDER, max_examples=100)
    def test_a_changed_byte_gives_records_or_a_store_error(self, tmp_path, healthy, data):
        path = tmp_path / "scores.db"
        place = data.draw(st.integers(0, 200) | st.integers(0, len(healthy) - 1))
        content = bytearray(healthy)
        content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != healthy[place]))
        path.write_bytes(content)
        keys = [make_key(number) for number in range(40)]
        try:
            with Store(path) as store:
                assert len(store.missing(keys)) + len(store.get_many(keys)) == 40
                assert all(isinstance(record, ScoreRecord) for record in store.records())
        except StoreError as error:
            assert len(str(error)) > 40  # noqa: PT017 - either outcome is right; only another exception is not
        for file in tmp_path.glob("scores.db-*"):
            file.unlink()

    def test_a_damaged_row_is_an_error_and_not_a_number(self, path, healthy):
        path.write_bytes(healthy.replace(b'"jax":"0.10.1"', b'"jax" "0.10.1"'))
        with Store(path) as store:
            with pytest.raises(StoreError, match=r"is damaged.*not JSON text"):
                store.get(make_key(3))
            with pytest.raises(StoreError, match=r"move it .* away"):
                list(store.records())

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_a_database_of_another_application(self, path, journal):
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE scores (id)")
        connection.commit()
        connection.close()
        assert_refused_and_untouched(path, "is an SQLite database of another application (application id 0x0")

    def test_a_newer_schema(self, path):
        Store(path).close()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 4")
        connection.close()
        assert_refused_and_untouched(
            path, "has schema version 4, and this release of jknas reads the versions 2 and 3: it was left as it is; upgrade jknas"
        )

    def test_a_store_without_its_table(self, path):
        Store(path).close()
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE scores")
        connection.close()
        assert_refused_and_untouched(path, "no such table: scores")

    def test_an_emptied_store_keeps_its_log(self, path):
        path.touch()
        log = path.with_name("scores.db-wal")
        log.write_bytes(b"the scores are in here")
        with pytest.raises(StoreError, match=r"is empty or gone, but its log scores\.db-wal holds data"):
            Store(path)
        assert log.read_bytes() == b"the scores are in here"

    def test_an_empty_file_is_a_new_store(self, path):
        path.touch()
        with Store(path) as store:
            assert len(store) == 0

    def test_paths_that_cannot_be(self, tmp_path):
        with pytest.raises(StoreError, match="is a folder: give the path of a file in it"):
            Store(tmp_path)
        with pytest.raises(StoreError, match="absent is not a folder; make it first"):
            Store(tmp_path / "absent" / "scores.db")

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root can write")
    def test_a_folder_that_cannot_be_written(self):
        with pytest.raises(StoreError, match=r"cannot be written \(unable to open database file\): make it and its folder /proc writable"):
            Store("/proc/scores.db")

    def test_a_lock_that_is_not_released(self, path):
        with Store(path) as store:
            store.put(make_record())
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"was locked by another process for 0\.1 s: end that process"):
                Store(path, timeout=0.1)
            assert store.get(make_key()) == make_record()  # readers do not wait for a writer
            other.close()

    def test_use_after_closing_and_from_another_thread(self, path):
        store = Store(path)
        caught: list[Exception] = []

        def use() -> None:
            try:
                len(store)
            except StoreError as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        store.close()
        use()
        assert len(caught) == 2
        assert all("A store serves the thread that opened it, until it is closed" in str(error) for error in caught)


WRITER = textwrap.dedent("""
    import sys
    from jknas.scoring.store import ScoreKey, ScoreRecord, Store, canonical_json
    path, name, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    settings, network = canonical_json({"batch": 64, "objective": "loss"}), canonical_json({"cells": 5, "channels": 16})
    print("ready", flush=True)
    sys.stdin.readline()
    with Store(path) as store:
        for number in range(first, last):
            key = ScoreKey("nasbench201", f"cell {number}", "mgm", settings, "digits", 0, network)
            extras = {"rank": number, "text": "x" * 2000}
            written = store.put(ScoreRecord(key, "canonical", float(number), "ok", 0.1, extras, {}, name))
            print(number, int(written), flush=True)
""")


def start_writer(path: Path, name: str, first: int, last: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), name, str(first), str(last)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdout.readline() == "ready\n"
    return process


class TestProcesses:
    @pytest.mark.parametrize("after", [1, 40])
    def test_a_killed_writer_loses_nothing_that_it_reported(self, path, after):
        process = start_writer(path, "writer", 0, 1_000_000)
        process.stdin.write("go\n")
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()  # communicate() would lose what readline() has read ahead
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reported = [int(line.split()[0]) for line in lines + rest.splitlines(keepends=True) if line.endswith("\n")]
        assert len(reported) >= after
        with Store(path) as store:
            stored = {int(record.key.genotype.split()[1]): record for record in store.records()}
            assert set(reported) <= set(stored)
            assert len(stored) <= len(reported) + 1
            assert all(stored[number].score == number and stored[number].extras["rank"] == number for number in reported)
            assert store.put(make_record(10**9))

    def test_two_writers_share_a_new_file(self, path):
        processes = {name: start_writer(path, name, *numbers) for name, numbers in {"a": (0, 150), "b": (50, 200)}.items()}
        for process in processes.values():
            process.stdin.write("go\n")
        owner: dict[int, str] = {}
        for name, process in processes.items():
            output, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
            for number, written in (map(int, line.split()) for line in output.splitlines()):
                if written:
                    assert number not in owner
                    owner[number] = name
        with Store(path) as store:
            stored = {int(record.score): record.device for record in store.records()}
            assert len(store) == 200
        assert stored == owner
        assert sorted(stored) == list(range(200))

    def test_many_open_a_new_file_at_once(self, tmp_path):
        for attempt in range(3):
            path = tmp_path / f"{attempt}.db"
            errors: list[Exception] = []
            barrier = threading.Barrier(6)

            def use(number: int, path: Path = path, barrier: threading.Barrier = barrier, errors: list[Exception] = errors) -> None:
                barrier.wait()
                try:
                    with Store(path) as store:
                        store.put(make_record(number))
                except StoreError as error:
                    errors.append(error)

            threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            with Store(path) as store:
                assert len(store) == 6


# ---- a store of the previous schema, which knew no revisions

PREVIOUS = """CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    space TEXT NOT NULL, genotype TEXT NOT NULL, proxy TEXT NOT NULL, settings TEXT NOT NULL,
    dataset TEXT NOT NULL, seed INTEGER NOT NULL, network TEXT NOT NULL,
    canonical TEXT NOT NULL,
    score NOT NULL CHECK (typeof(score) = 'real' OR score = 'nan'),
    status TEXT NOT NULL CHECK (status IN ('ok', 'saturated', 'dead', 'negative', 'non_finite', 'failed')),
    seconds REAL NOT NULL, extras TEXT NOT NULL, versions TEXT NOT NULL, device TEXT NOT NULL,
    UNIQUE (space, genotype, proxy, settings, dataset, seed, network)
)"""


def write_previous(path, records, version=2):
    """Write the file that the previous release would write, row by row."""
    connection = sqlite3.connect(path)
    connection.execute(PREVIOUS)
    for record in records:
        key = [getattr(record.key, name) for name in ("space", "genotype", "proxy", "settings", "dataset", "seed", "network")]
        score = "nan" if math.isnan(record.score) else record.score
        rest = [record.canonical, score, record.status, record.seconds, write_json(record.extras, ""), write_json(record.versions, "")]
        connection.execute(f"INSERT INTO scores VALUES (NULL{', ?' * 14})", [*key, *rest, record.device])
    connection.execute("PRAGMA application_id = 0x6A6B6E73")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.commit()
    connection.close()


def test_the_scores_of_the_previous_schema_are_of_revision_1(path):
    written = [make_record(number) for number in range(1200)]
    written += [make_record(-1, math.nan, "failed"), make_record(-2, math.inf, "non_finite")]
    write_previous(path, written)
    mended = make_key(3, revision=2)
    for _ in range(2):  # upgraded when it is opened, and then a store like any other
        with Store(path) as store:
            assert [repr(record) for record in store.records(revision=1)] == [repr(record) for record in written]
            assert store.get(make_key(3)) == written[3]
            assert store.missing([make_key(3), mended, make_key(5000)]) == [mended, make_key(5000)]
            assert store.get(mended) is None
    with Store(path) as store:
        assert store.put(make_record(3, 7.0, key=mended))
        assert (store.get(make_key(3)).score, store.get(mended).score) == (1.5, 7.0)
        assert not store.put(make_record(4))
        assert [record.key for record in store.records(revision=2)] == [mended]


def test_a_schema_before_the_previous_one_is_refused(path):
    write_previous(path, [make_record()], version=1)
    words = "reads the versions 2 and 3: it was left as it is; export it with the release that wrote it, or give"
    assert_refused_and_untouched(path, f"has schema version 1, and this release of jknas {words}")


def test_a_file_that_only_claims_the_previous_schema(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE scores (id INTEGER PRIMARY KEY, space TEXT)")
    connection.execute("PRAGMA application_id = 0x6A6B6E73")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="is damaged, or is no score store"):
        Store(path)
    assert [row[1] for row in sqlite3.connect(path).execute("PRAGMA table_info(scores)")] == ["id", "space"]


def test_a_key_is_a_value():
    assert make_key(1) == make_key(1)
    assert len({make_key(1), make_key(1), make_key(2)}) == 2
    assert replace(make_key(1), seed=3).seed == 3
