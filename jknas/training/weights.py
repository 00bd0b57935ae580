"""The weights of a trained network on disk: ``weights.msgpack`` as Flax writes it, and ``network.json`` to rebuild the network.

``trained = load_weights("runs/best")`` reads both. ``trained.classify(images)`` returns classes; ``trained.module`` is the Flax module for
``trained.variables`` and ``trained.normalised(images)``.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jknas import spaces
from jknas.data import Dataset
from jknas.data.dataset import pixel_constants
from jknas.errors import JknasError, TrainingError
from jknas.files.atomic import write_atomically
from jknas.networks import families
from jknas.networks.parameters import Variables
from jknas.spaces.space import Space
from jknas.training.augmentation import normalise

WEIGHTS, DESCRIPTION = "weights.msgpack", "network.json"
"""The names of the two files in a folder."""

_FORMAT = 1


Inputs = UInt8[Array, "n h w c"] | UInt8[np.ndarray, "n h w c"] | Int[Array, "n 3 t"] | Int[np.ndarray, "n 3 t"]
"""Images, or sequences of tokens."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its trained weights.

    Attributes:
        network: the network, of its size.
        genotype: the architecture.
        variables: ``{"params", "batch_stats"}`` of this genotype.
        mean: of each channel of the training images, in units of pixel/255; empty for a network that reads tokens.
        std: standard deviation of each channel, likewise.
        resolution: height and width of the training images, or tokens of a training sequence.
    """

    network: Any
    genotype: Any
    variables: Variables = dataclasses.field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int

    @property
    def module(self) -> nn.Module:
        """The network as a Flax module, to be applied to ``variables`` and normalised images.

        Raises:
            TrainingError: the network has no ``module``.
        """
        families.require(self.network, "module", "TrainedNetwork.module", error=TrainingError)
        module: nn.Module = self.network.module(self.genotype)
        return module

    def normalised(self, images: Inputs) -> Float[Array, "n h w c"] | Int[Array, "n 3 t"]:
        """Normalise images as in training; sequences of tokens stay as they are."""
        if not self.mean:
            return jnp.asarray(images)
        scale, shift = map(jnp.asarray, pixel_constants(self))
        return normalise(jnp.asarray(images), scale, shift)

    def classify(self, images: Inputs) -> Int[Array, " n"]:
        """Return the class of each image or sequence, in evaluation mode; compiles once per shape of ``images``."""
        return jnp.argmax(self._logits(self.variables, jnp.asarray(images)), -1)

    @functools.cached_property
    def _logits(self) -> Callable[[Variables, Array], Float[Array, "n k"]]:
        def logits(variables: Variables, images: Array) -> Float[Array, "n k"]:
            params, averages = variables["params"], variables["batch_stats"]
            return self.network.apply(params, self.normalised(images), self.genotype, statistics="running", batch_stats=averages)

        return jax.jit(logits)


def save_weights(folder: str | Path, network: Any, genotype: Any, variables: Mapping[str, Any], *, space: str, dataset: Dataset) -> Path:
    """Write ``weights.msgpack`` and ``network.json`` into a folder.

    Args:
        folder: created if it is not there; files of these names are replaced.
        network: the trained network.
        genotype: the architecture.
        variables: ``{"params", "batch_stats"}`` of this genotype, as ``Training.variables`` gives them.
        space: the space's name.
        dataset: what it was trained on.

    Returns:
        The path of the weights.

    Raises:
        TrainingError: a file cannot be written.
    """
    sizes = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)} if dataclasses.is_dataclass(network) else {}
    description = {
        "format": _FORMAT,
        "space": space,
        "genotype": str(genotype),
        "network": {name: value for name, value in sizes.items() if isinstance(value, (int, float, str))},
        "data": {"name": dataset.name, "resolution": dataset.resolution, "mean": dataset.mean, "std": dataset.std},
    }
    tree = jax.tree.map(np.asarray, {name: dict(variables[name]) for name in ("params", "batch_stats")})
    place = Path(folder)
    write_atomically(place / DESCRIPTION, json.dumps(description, indent=2) + "\n", error=TrainingError)
    return write_atomically(place / WEIGHTS, flax.serialization.msgpack_serialize(tree), error=TrainingError, what="the weights")


def load_weights(folder: str | Path, *, space: Space[Any] | None = None, network: Any = None) -> TrainedNetwork:
    """Read what :func:`save_weights` wrote.

    Nothing in the files is executed or imported: a space that is not built in or registered must be given.

    Args:
        folder: the folder.
        space: the space, by default the built-in or registered one of the stored name.
        network: the network, by default the space's network of the stored size.

    Returns:
        The network with its weights.

    Raises:
        TrainingError: files that are missing, damaged, or do not fit each other.
    """
    place = Path(folder)
    try:
        description = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
        restored = flax.serialization.msgpack_restore((place / WEIGHTS).read_bytes())
        if description["format"] != _FORMAT:
            raise TrainingError(f"{place / DESCRIPTION} has the format {description['format']!r}; this version reads {_FORMAT}.")
        data, sizes, named, text = (description[name] for name in ("data", "network", "space", "genotype"))
        mean, std, resolution = tuple(map(float, data["mean"])), tuple(map(float, data["std"])), int(data["resolution"])
    except OSError as error:
        raise TrainingError(f"cannot read {error.filename} ({error.strerror}): give a folder with {DESCRIPTION} and {WEIGHTS}.") from error
    except TrainingError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"the weights in {place} are damaged ({type(error).__name__}: {str(error)[:200]}): save them again.") from error
    if space is None and named not in spaces.names():
        raise TrainingError(
            f"the network of {place / DESCRIPTION} cannot be rebuilt: its space {named!r} is neither built in nor registered, and no "
            "module is imported because a file names it; pass space=..."
        )
    try:
        found = space or spaces.get(named)
        genotype = found.parse(text)
        model = network or families.macro_of(found)(**sizes)
    except (JknasError, TypeError) as error:
        raise TrainingError(f"the network of {place / DESCRIPTION} cannot be rebuilt ({error}); pass space=... or network=...") from error
    return TrainedNetwork(model, genotype, _checked(restored, model, genotype, place / WEIGHTS), mean, std, resolution)


def _checked(restored: Any, network: Any, genotype: Any, path: Path) -> Variables:
    """Return the variables as JAX arrays, or raise unless their names and shapes are those of the network."""

    def listed(tree: Any) -> dict[str, tuple[int, ...]]:
        return {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree.leaves_with_path(tree)}

    expected = jax.eval_shape(lambda: network.init(jax.random.key(0), genotype))
    wanted = listed(expected)
    try:
        got = listed(restored)
    except AttributeError:
        got = {}
    for name in sorted(wanted.keys() | got.keys()):
        if got.get(name) != wanted.get(name):
            raise TrainingError(
                f"{path} holds {got.get(name, 'nothing')} at {name}, but {network} needs {wanted.get(name, 'nothing')}: they do not belong "
                "together."
            )
    structures = [str(jax.tree.structure(tree)) for tree in (restored, expected)]
    if structures[0] != structures[1]:
        raise TrainingError(f"{path} has another structure than the variables of {type(network).__name__}: they do not belong together.")
    return jax.tree.map(jnp.asarray, restored)
