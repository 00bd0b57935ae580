"""Reading pickled image batches without running what a pickle may ask for."""

import io
import math
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from jknas.errors import DataError

# A damaged pickle can raise nearly anything from the opcode that it breaks at; KeyError and IndexError are LookupErrors.
_DAMAGE = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)


class _Recorded:
    """Stands for a numpy object while a pickle is read: keeps what it would be built from, and builds nothing.

    numpy's own `__setstate__` trusts its input: one changed byte in a batch can end the process. Arrays are therefore made afterwards,
    from a checked shape, dtype and length.
    """

    # Class defaults, because a pickle can make an object without calling __init__.
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Recorded):
    """An array: its state is (version, shape, dtype, whether in Fortran order, bytes)."""


class _Dtype(_Recorded):
    """A dtype: its first argument is a code such as "u1", its state is (version, byte order, ...)."""


_ALLOWED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _BatchUnpickler(pickle.Unpickler):
    """Builds dictionaries, lists, numbers, strings and numpy arrays; refuses every other name before anything of it runs."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed objects, or raise DataError."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(
                f"the pickle asks for {module}.{name}, which an image batch does not need; only plain containers and numpy arrays "
                "are read. Do not trust this file: get it again from its original place."
            ) from None


def _check_sizes(content: bytes) -> None:
    """Raise ValueError when an opcode promises more than the file can hold: the unpickler would reserve the memory first.

    `genops` itself compares the lengths of strings with what is left. One pass in Python, 0.1 s for 100,000 labels.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise ValueError(f"memo index {argument} in {len(content)} bytes")


def read_batch(content: bytes, where: str) -> dict[str, Any]:
    """Unpickle one batch file: a dictionary as CIFAR's and downsampled ImageNet's files hold.

    Python 2's strings come as bytes; keys are given back as text.

    Args:
        content: The bytes of the file.
        where: How messages name the file.

    Raises:
        DataError: the pickle asks for anything but containers and numpy arrays, is damaged, or is not a dictionary.
    """
    try:
        _check_sizes(content)
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except _DAMAGE as error:
        raise DataError(
            f"{where}: the pickle is damaged ({type(error).__name__}: {error}); expected a complete batch file: get it again."
        ) from error
    if not isinstance(batch, dict):
        raise DataError(f"{where}: holds a {type(batch).__name__}; expected a dictionary with images and labels: is it the right file?")
    named = ((key.decode("latin-1") if isinstance(key, bytes) else str(key), value) for key, value in batch.items())
    return {key: _built(value, f"{where}: {key!r}") if isinstance(value, _Recorded) else value for key, value in named}


def _built(recorded: _Recorded, where: str) -> np.ndarray:
    """Return the array that was recorded, after checking that its parts fit together."""
    match recorded.state:
        case (_, tuple() as shape, _Dtype() as dtype, bool() as fortran, bytes() as content):
            pass
        case _:
            raise DataError(f"{where} is not a complete numpy array; expected numbers of one dtype: get the file again.")
    code = _text(dtype.arguments[0]) if dtype.arguments else ""
    order = _text(dtype.state[1]) if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else ""
    if not re.fullmatch("[uif][1248]", code) or code == "f1" or order not in ("<", ">", "|"):
        raise DataError(f"{where} has dtype {order!r} {code!r}; expected plain numbers such as '|' 'u1': get the file again.")
    kind = np.dtype(order + code)
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * kind.itemsize != len(content):
        raise DataError(f"{where} says shape {shape} of {kind} but holds {len(content)} bytes: the file is damaged, get it again.")
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def images_and_labels(
    batch: dict[str, Any], *, label_key: str, resolution: int, first_label: int, num_classes: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return images `[N, H, W, 3]` (uint8) and labels `[N]` (int32, from 0) of one batch dictionary.

    Args:
        batch: From `read_batch`; `data` is uint8 `[N, 3 * resolution**2]`, channel planes one after the other.
        label_key: Entry with the labels, a list or an array.
        resolution: Height and width in pixels.
        first_label: Number of the first class in the file: 0 for CIFAR, 1 for ImageNet.
        num_classes: Number of classes in the file.
        where: How messages name the file.

    Raises:
        DataError: an entry is missing, or has the wrong dtype, shape, length or range.
    """
    for key in ("data", label_key):
        if key not in batch:
            raise DataError(f"{where}: no entry {key!r}, only {sorted(batch)}; expected 'data' and {label_key!r}: is it the right file?")
    data, width = batch["data"], 3 * resolution**2
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != width or len(data) == 0:
        came = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{where}: 'data' is {came}; expected a uint8 array [N, {width}] ({resolution}x{resolution} images, 3 channels).")
    try:
        labels = np.asarray(batch[label_key])
    except ValueError as error:
        raise DataError(f"{where}: {label_key!r} is not a plain list ({error}); expected {len(data)} integer labels.") from error
    if labels.dtype.kind not in "iu" or labels.shape != (len(data),):
        raise DataError(f"{where}: {label_key!r} is {labels.dtype} {labels.shape}; expected {len(data)} integer labels, one an image.")
    last_label = first_label + num_classes - 1
    if labels.min() < first_label or labels.max() > last_label:
        raise DataError(f"{where}: labels run from {labels.min()} to {labels.max()}; expected {first_label}..{last_label}.")
    images = data.reshape(-1, 3, resolution, resolution).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), (labels - first_label).astype(np.int32)
