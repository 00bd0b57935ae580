"""Writes image batches byte for byte as Python 2 pickled them, so that the readers meet the published files' real form."""

import io
import pathlib
import struct
import tarfile

import numpy as np


def _string(text):
    content = text if isinstance(text, bytes) else text.encode()
    return b"T" + struct.pack("<i", len(content)) + content


def _integer(value):
    return b"J" + struct.pack("<i", value)


def _array(array):
    shape = b"(" + b"".join(map(_integer, array.shape)) + b"t"
    base = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + _integer(0) + b"t" + _string("b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + _string(array.dtype.str[1:]) + _integer(0) + _integer(1) + b"tR"
    dtype += b"(" + _integer(3) + _string("|") + b"NNN" + _integer(-1) * 2 + _integer(0) + b"tb"
    return base + b"(" + _integer(1) + shape + dtype + b"\x89" + _string(array.tobytes()) + b"tb"


def pickled(batch):
    """Return the protocol-2 pickle of a dictionary of uint8 arrays, integer lists and strings."""
    out = b"\x80\x02}("
    for key, value in batch.items():
        out += _string(key)
        if isinstance(value, np.ndarray):
            out += _array(value)
        elif isinstance(value, str):
            out += _string(value)
        else:
            out += b"](" + b"".join(_integer(int(item)) for item in value) + b"e"
    return out + b"u."


def batch(count, *, width, labels, label_key="labels", seed=0):
    """Return a dictionary like a CIFAR batch, with random pixels."""
    data = np.random.default_rng(seed).integers(0, 256, (count, width), dtype=np.uint8)
    return {"batch_label": "made for a test", label_key: list(labels), "data": data}


def write_archive(path, members):
    """Write a gzipped tar of named contents."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return pathlib.Path(path)


def cifar10_batches(count=20):
    """Return six small CIFAR-10 batches by file name; all classes occur in each."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {name: batch(count, width=3072, labels=np.arange(count) % 10, seed=seed) for seed, name in enumerate(names)}


def write_cifar10(path, batches=None):
    """Write a small archive of the published form."""
    batches = cifar10_batches() if batches is None else batches
    return write_archive(path, {f"cifar-10-batches-py/{name}": pickled(content) for name, content in batches.items()})


def write_cifar100(path, count=400):
    """Write a small CIFAR-100 archive: `count` training and `count` test images."""
    members = {}
    for seed, name in enumerate(("train", "test")):
        content = batch(count, width=3072, labels=np.arange(count) % 100, label_key="fine_labels", seed=seed)
        members[f"cifar-100-python/{name}"] = pickled({**content, "coarse_labels": [0] * count})
    return write_archive(path, members)
