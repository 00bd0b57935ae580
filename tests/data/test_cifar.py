import dataclasses
import os
import pickle
import re
import tarfile
import tracemalloc

import numpy as np
import pytest
import python2_batches as made
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas import data
from jknas.data.cifar import CIFAR10, CIFAR100
from jknas.data.files import DataFile, check_digests
from jknas.data.pickles import images_and_labels, read_batch
from jknas.data.splits import benchmark_halves


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("JKNAS_DATA", raising=False)


@pytest.fixture
def cifar10(tmp_path):
    batches = made.cifar10_batches()
    made.write_cifar10(tmp_path / "cifar-10-python.tar.gz", batches)
    return tmp_path, batches


def extracted(folder):
    with tarfile.open(folder / "cifar-10-python.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "cifar-10-python.tar.gz").unlink()


def planes(row):
    return row.reshape(3, 32, 32).transpose(1, 2, 0)


def test_an_archive_is_read_in_official_order_and_halved_as_the_benchmark_does(cifar10):
    folder, batches = cifar10
    dataset = data.load("cifar10", folder=folder, verify=False)
    pixels = np.concatenate([batches[f"data_batch_{i}"]["data"] for i in range(1, 6)])
    for rows, images, labels in zip(
        benchmark_halves(100), (dataset.x_train, dataset.x_validation), (dataset.y_train, dataset.y_validation), strict=True
    ):
        np.testing.assert_array_equal(labels, rows % 20 % 10)
        np.testing.assert_array_equal(images[7], planes(pixels[rows[7]]))
    np.testing.assert_array_equal(dataset.x_test[3], planes(batches["test_batch"]["data"][3]))
    assert (dataset.name, dataset.num_classes, dataset.crop_padding, dataset.horizontal_flip) == ("cifar10", 10, 4, True)
    assert "halved as in the benchmark" in dataset.source
    assert "digests not checked" in dataset.source
    np.testing.assert_allclose(np.asarray(dataset.mean) * 255, (125.3, 123.0, 113.9))
    np.testing.assert_allclose(np.asarray(dataset.std) * 255, (63.0, 62.1, 66.7))


def test_extracted_batches_give_the_same_as_the_archive(cifar10):
    folder, _ = cifar10
    from_archive = data.load("cifar10", folder=folder, verify=False)
    extracted(folder)
    assert data.load("cifar10", folder=folder, verify=False).digest == from_archive.digest


def test_the_full_training_set_for_a_last_training(cifar10):
    folder, _ = cifar10
    halves, full = (data.load(name, folder=folder, verify=False) for name in ("cifar10", "cifar10-full"))
    assert len(full.y_train) == len(halves.y_train) + len(halves.y_validation)
    both = np.concatenate([halves.x_train, halves.x_validation])
    assert sorted(image.tobytes() for image in full.x_train) == sorted(image.tobytes() for image in both)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(full.split(split)[0], halves.x_test)
    assert full.name == "cifar10-full"
    assert "choose nothing by them" in full.source


def test_a_limit_takes_the_first_of_each_split(cifar10):
    folder, _ = cifar10
    whole, part = (data.load("cifar10", folder=folder, verify=False, limit=limit) for limit in (None, (9, 4)))
    assert [len(part.split(split)[1]) for split in data.SPLITS] == [9, 9, 4]
    np.testing.assert_array_equal(part.x_validation, whole.x_validation[:9])


def test_cifar100_without_the_benchmarks_file_says_that_its_halves_are_not_the_benchmarks(tmp_path):
    made.write_cifar100(tmp_path / "cifar-100-python.tar.gz")
    dataset = data.load("cifar100", folder=tmp_path, verify=False)
    assert [len(dataset.split(split)[1]) for split in data.SPLITS] == [400, 200, 200]
    assert "not the benchmark's" in dataset.source
    np.testing.assert_array_equal(dataset.y_train, np.arange(400) % 100)
    np.testing.assert_allclose(np.asarray(dataset.mean) * 255, (129.3, 124.1, 112.4))


def test_cifar100_with_the_benchmarks_file_uses_it(tmp_path):
    made.write_cifar100(tmp_path / "cifar-100-python.tar.gz")
    even, odd = ([f'"{i}"' for i in range(start, 400, 2)] for start in (0, 1))
    (tmp_path / "cifar100-test-split.txt").write_text(f'{{"xvalid": ["int", [{",".join(odd)}]], "xtest": ["int", [{",".join(even)}]]}}')
    dataset = data.load("cifar100", folder=tmp_path, verify=False)
    assert "halved as in the benchmark (cifar100-test-split.txt)" in dataset.source
    np.testing.assert_array_equal(dataset.y_validation, np.arange(1, 400, 2) % 100)
    np.testing.assert_array_equal(dataset.y_test, np.arange(0, 400, 2) % 100)


@pytest.mark.parametrize("family", [CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def test_an_archive_that_is_not_the_original_is_refused(family, tmp_path):
    path = tmp_path / family.archive.path
    path.write_bytes(b"short")
    with pytest.raises(
        data.DataError, match=r"5 bytes, the original has 1\d\d,\d\d\d,\d\d\d, so this one looks truncated. Get the file again"
    ):
        data.load(family.name, folder=tmp_path)


def test_an_extracted_batch_that_is_not_the_original_is_refused(cifar10):
    folder, _ = cifar10
    extracted(folder)
    with pytest.raises(data.DataError, match=r"data_batch_1: md5 digest .* the original has c99cafc1.*verify=False"):
        data.load("cifar10", folder=folder)


def test_digests_accept_the_original_and_refuse_one_changed_bit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    good = DataFile(path, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", size=3)
    check_digests([good, DataFile(path, "md5:900150983cd24fb0d6963f7d28e17f72"), DataFile(path)])
    path.write_bytes(b"abb")
    with pytest.raises(data.DataError, match="sha256 digest"):
        check_digests([good])
    path.write_bytes(b"abcd")
    with pytest.raises(data.DataError, match="4 bytes, the original has 3, so this one is another file"):
        check_digests([good])


@pytest.mark.parametrize("keep", [0, 1, 20, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused(cifar10, keep):
    folder, _ = cifar10
    path = folder / "cifar-10-python.tar.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(data.DataError, match=r"truncated or damaged archive.*https://www.cs.toronto.edu.*get it again"):
        data.load("cifar10", folder=folder, verify=False)


def test_an_archive_without_a_batch_is_refused(tmp_path):
    batches = made.cifar10_batches()
    del batches["data_batch_3"]
    made.write_cifar10(tmp_path / "cifar-10-python.tar.gz", batches)
    with pytest.raises(data.DataError, match="no member data_batch_3 in cifar-10-batches-py/"):
        data.load("cifar10", folder=tmp_path, verify=False)


def test_a_folder_without_a_batch_is_refused(cifar10):
    folder, _ = cifar10
    extracted(folder)
    (folder / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(data.DataError, match="no file test_batch; expected all batches"):
        data.load("cifar10", folder=folder)


BAD_BATCHES = {
    "no data": ({"data": None}, "no entry 'data'"),
    "no labels": ({"labels": None}, "no entry 'labels'"),
    "width": ({"data": np.zeros((20, 3000), np.uint8)}, r"'data' is uint8 \(20, 3000\); expected a uint8 array \[N, 3072\]"),
    "dtype": ({"data": np.zeros((20, 3072), np.int8)}, r"'data' is int8"),
    "empty": ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, r"'data' is uint8 \(0, 3072\)"),
    "text": ({"data": "pixels"}, "'data' is bytes; expected a uint8 array"),
    "few labels": ({"labels": [1] * 19}, r"'labels' is int64 \(19,\); expected 20 integer labels"),
    "label range": ({"labels": [10] * 20}, r"labels run from 10 to 10; expected 0..9"),
    "label sign": ({"labels": [-1] * 20}, r"labels run from -1 to -1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_batch_of_the_wrong_form_is_refused_by_name(tmp_path, changes, message):
    batches = made.cifar10_batches()
    merged = {**batches["data_batch_2"], **changes}
    batches["data_batch_2"] = {key: value for key, value in merged.items() if value is not None}
    made.write_cifar10(tmp_path / "cifar-10-python.tar.gz", batches)
    with pytest.raises(data.DataError, match=f"data_batch_2.*{message}"):
        data.load("cifar10", folder=tmp_path, verify=False)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_before_it_runs(tmp_path, protocol):
    trace = tmp_path / "it-ran"
    content = pickle.dumps({"data": Malicious(trace), "labels": []}, protocol=protocol)
    with pytest.raises(data.DataError, match=r"data_batch_1: the pickle asks for (posix|nt|os)\.mkdir, which an image batch does not need"):
        read_batch(content, "data_batch_1")
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # so the pickle was a live one


@pytest.mark.parametrize("name", ["builtins eval", "builtins getattr", "numpy load", "numpy.core.multiarray scalar", "functools partial"])
def test_names_outside_the_list_are_refused(name):
    module, attribute = name.split()
    with pytest.raises(data.DataError, match=f"the pickle asks for {module}.{attribute}"):
        read_batch(f"c{module}\n{attribute}\n.".encode(), "a file")


def test_a_malicious_archive_member_is_refused_through_load(tmp_path):
    trace = tmp_path / "it-ran"
    members = {f"cifar-10-batches-py/{name}": made.pickled(content) for name, content in made.cifar10_batches().items()}
    members["cifar-10-batches-py/data_batch_1"] = pickle.dumps(Malicious(trace))
    made.write_archive(tmp_path / "cifar-10-python.tar.gz", members)
    with pytest.raises(data.DataError, match=r"Do not trust this file"):
        data.load("cifar10", folder=tmp_path, verify=False)
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [3, 4])
def test_python_3_pickles_of_arrays_are_read(protocol):
    content = made.batch(4, width=768, labels=[1, 2, 3, 1000])
    images, labels = images_and_labels(
        read_batch(pickle.dumps(content, protocol=protocol), "here"),
        label_key="labels",
        resolution=16,
        first_label=1,
        num_classes=1000,
        where="here",
    )
    np.testing.assert_array_equal(images[2], content["data"][2].reshape(3, 16, 16).transpose(1, 2, 0))
    assert labels.tolist() == [0, 1, 2, 999]


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x02}", made.pickled(made.batch(3, width=12, labels=[0]))[:-9]])
def test_a_damaged_pickle_is_refused(content):
    with pytest.raises(data.DataError, match=r"the pickle is damaged .*get it again"):
        read_batch(content, "here")


@pytest.mark.parametrize("content", [b"}r\xff\xff\xff\x7f.", b"}p2000000000\n.", b"\x8e\xff\xff\xff\xff\x0f\x00\x00\x00."])
def test_a_pickle_that_would_reserve_gigabytes_is_refused_at_once(content):
    tracemalloc.start()
    with pytest.raises(data.DataError, match="the pickle is damaged"):
        read_batch(content, "here")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_pickle_of_something_else_is_refused():
    with pytest.raises(data.DataError, match="holds a list; expected a dictionary"):
        read_batch(pickle.dumps([1, 2]), "here")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (b"T\x02\x00\x00\x00u1", b"T\x02\x00\x00\x00O8", "has dtype '|' 'O8'; expected plain numbers"),
        (b"T\x02\x00\x00\x00u1", b"T\x02\x00\x00\x00u8", "says shape .* of uint64 but holds 36 bytes"),
        (b"J\x0c\x00\x00\x00t", b"J\xff\xff\xff\x7ft", "says shape .3, 2147483647. of uint8 but holds 36 bytes"),
    ],
)
def test_an_array_whose_parts_do_not_fit_is_refused(place, value, message):
    # Left to numpy's own __setstate__, such an array can end the process.
    assert WHOLE.count(place) == 1
    with pytest.raises(data.DataError, match=re.escape("here: 'data' ") + message.replace("|", r"\|")):
        read_batch(WHOLE.replace(place, value), "here")


WHOLE = made.pickled(made.batch(3, width=12, labels=[0, 1, 1]))


# A damaged text opcode may hold an odd escape, of which Python itself warns.
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_any_changed_byte_gives_a_dictionary_or_a_data_error(place, value):
    content = WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :]
    try:
        batch = read_batch(content, "here")
        images_and_labels(batch, label_key="labels", resolution=2, first_label=0, num_classes=10, where="here")
    except data.DataError as error:
        assert "here: " in str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_a_data_error_at_most(content):
    try:
        assert isinstance(read_batch(content, "here"), dict)
    except data.DataError as error:
        assert "here: " in str(error)  # noqa: PT017 - both outcomes are right


def test_families_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CIFAR10.url = "elsewhere"
