import numpy as np
import pytest
import python2_batches as made

from jknas import data
from jknas.data.imagenet16 import _DIGESTS


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("JKNAS_DATA", raising=False)


def write(folder, *, count=40, highest=1000):
    folder.mkdir(exist_ok=True)
    batches = {}
    for seed, name in enumerate(_DIGESTS):
        # Labels from both sides of the border between 120 and 121, whichever the batch.
        labels = [1, 120, 121, highest, *np.random.default_rng(seed).integers(1, 241, count - 4)]
        batches[name] = made.batch(count, width=768, labels=labels, seed=seed)
        (folder / name).write_bytes(made.pickled(batches[name]))
    return batches


@pytest.mark.parametrize("inside", ["", "ImageNet16"])
def test_the_first_120_classes_are_kept_in_file_order(tmp_path, inside):
    batches = write(tmp_path / inside)
    dataset = data.load("imagenet16-120", folder=tmp_path, verify=False)
    train = [batches[f"train_data_batch_{i}"] for i in range(1, 11)]
    labels = np.concatenate([batch["labels"] for batch in train])
    pixels = np.concatenate([batch["data"] for batch in train])[labels <= 120]
    np.testing.assert_array_equal(dataset.y_train, labels[labels <= 120] - 1)
    np.testing.assert_array_equal(dataset.x_train[5], pixels[5].reshape(3, 16, 16).transpose(1, 2, 0))
    held = (np.asarray(batches["val_data"]["labels"]) <= 120).sum()
    assert len(dataset.y_validation) + len(dataset.y_test) == held
    assert (dataset.num_classes, dataset.resolution, dataset.crop_padding) == (120, 16, 2)
    assert "not the benchmark's" in dataset.source
    np.testing.assert_allclose(np.asarray(dataset.mean) * 255, (122.68, 116.66, 104.01))
    np.testing.assert_allclose(np.asarray(dataset.std) * 255, (63.22, 61.26, 65.09))


def test_the_benchmarks_split_file_is_used(tmp_path):
    batches = write(tmp_path)
    kept = [label - 1 for label in batches["val_data"]["labels"] if label <= 120]
    ids = [f'"{i}"' for i in range(len(kept))]
    text = f'{{"xvalid": ["int", [{",".join(ids[:5])}]], "xtest": ["int", [{",".join(ids[5:])}]]}}'
    (tmp_path / "imagenet-16-120-test-split.txt").write_text(text)
    dataset = data.load("imagenet16-120", folder=tmp_path, verify=False, limit=(4, 100))
    assert dataset.y_validation.tolist() == kept[:4]
    assert dataset.y_test.tolist() == kept[5:]


def test_files_that_are_not_the_originals_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(data.DataError, match=r"train_data_batch_1: md5 digest .* the original has 27846dca"):
        data.load("imagenet16-120", folder=tmp_path)


def test_an_incomplete_folder_names_what_is_missing(tmp_path):
    write(tmp_path)
    (tmp_path / "train_data_batch_7").unlink()
    (tmp_path / "val_data").unlink()
    with pytest.raises(data.DataError, match="no file train_data_batch_7, val_data; expected all eleven"):
        data.load("imagenet16-120", folder=tmp_path)
    advice = {entry.name: entry.advice for entry in data.available(tmp_path)}
    assert "no file train_data_batch_7" in advice["imagenet16-120"]


def test_a_label_beyond_1000_is_refused(tmp_path):
    write(tmp_path, highest=1001)
    with pytest.raises(data.DataError, match=r"labels run from 1 to 1001; expected 1..1000"):
        data.load("imagenet16-120", folder=tmp_path, verify=False)


def test_32_pixel_batches_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "val_data").write_bytes(made.pickled(made.batch(3, width=3072, labels=[1, 2, 3])))
    with pytest.raises(data.DataError, match=r"val_data: 'data' is uint8 \(3, 3072\); expected a uint8 array \[N, 768\]"):
        data.load("imagenet16-120", folder=tmp_path, verify=False)
