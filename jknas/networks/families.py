"""From a search space to its networks, and what a network can do besides returning logits.

A space names its macro network (``Space.networks``); nothing else in the package knows which network belongs to which space. Everything
beyond :class:`~jknas.networks.network.Network` is a *capability*, an optional method that a network class has or lacks. Proxies and
searches ask for capabilities, never for a space's name or a network's type.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jknas.data import Dataset
from jknas.errors import JknasError, NetworkError, SpaceError, choose
from jknas.networks.network import Network
from jknas.registry import load_reference
from jknas.spaces.space import Space

CAPABILITIES: Mapping[str, tuple[str, str]] = {
    "layers": ("kernel_layers", "kernel_layers(wiring), which cuts a gradient into its convolutions and the classifier"),
    "observable": ("walk", "walk(params, x, wiring, visit, extras=None), which runs it block by block, and observed_layers(wiring)"),
    "modules": (
        "module_outputs",
        "module_outputs(kind, x, seen), what the modules of the reference network return that are no layers, and times_hooked(kind)",
    ),
    "normalisation_free": (
        "apply_without_normalisation",
        "apply_without_normalisation(params, x, wiring), its logits without normalisation",
    ),
    "reductions": ("apply_normalising_reductions", "apply_normalising_reductions(params, x, wiring), normalised in its reductions alone"),
    "torch_order": ("leading_entries", "leading_entries(gradient, wiring, *, entries, tensors_taken), in PyTorch's order of registration"),
    "tenas": ("tenas_network", "tenas_network(), TE-NAS's small network for the tangent kernel, and the class attribute tenas_batch"),
    "thin": ("thin_network", "thin_network(), TE-NAS's network of one channel whose linear regions are counted"),
    "trainable": ("train_apply", "train_apply(params, batch_stats, x, wiring, *, key, drop_path), one forward pass in training mode"),
    "supernet": (
        "supernet",
        "supernet(*, last_as_cells), the network whose weights all architectures share, which takes mixture weights and sampled codes and "
        "has used(params, chosen), the parameters of chosen operations",
    ),
    "module": ("module", "module(genotype), the network of one genotype as a flax.linen.Module"),
    "pretrained": (
        "pretrained",
        "pretrained(params), which puts pre-trained weights in, weights_folder(name), and from_weights(folder, *, classes, layers), which "
        "makes the network",
    ),
    "torch_weights": ("to_state_dict", "to_state_dict(genotype, variables) and from_state_dict(genotype, state)"),
}
"""By name the method that makes the capability, and how to write it."""


def provides(network: Network | type, capability: str) -> bool:
    """Return whether a network, or a class of networks, has a capability.

    Raises:
        NetworkError: no capability has that name.
    """
    return hasattr(network, CAPABILITIES[choose("capability", capability, tuple(CAPABILITIES), error=NetworkError)][0])


def require(network: Network | type, capability: str, asked_by: str, *, error: type[JknasError] = NetworkError) -> None:
    """Raise unless a network has a capability; the message says which method to write.

    Args:
        network: a network, or a class of networks.
        capability: one of :data:`CAPABILITIES`.
        asked_by: what needs it, for the message ("proxy 'naswot'").
        error: the class to raise.

    Raises:
        JknasError: of the class ``error``: the network lacks the capability.
    """
    if not provides(network, capability):
        kind = network if isinstance(network, type) else type(network)
        raise error(
            f"{asked_by} needs the capability {capability!r}, which {kind.__name__} lacks: "
            f"give the class the method {CAPABILITIES[capability][1]}."
        )


def macro_of(space: Space[Any]) -> Any:
    """Return the class of a space's macro network.

    Raises:
        SpaceError: the space has no network, or names one that cannot be imported.
    """
    if space.networks is None:
        raise SpaceError(f"the space {space.name!r} has no network: set Space.networks to a network class, or to 'module:Name' of one.")
    return load_reference(space.networks, "network", error=SpaceError) if isinstance(space.networks, str) else space.networks


def network_for(
    space: Space[Any],
    dataset: Dataset,
    *,
    channels: int | None = None,
    cells: int | None = None,
    stem: str | None = None,
    weights: str | Path | None = None,
) -> Network:
    """Return the network on which the architectures of a space are scored and trained, for the classes and inputs of a data set.

    Args:
        space: the search space.
        dataset: the data set.
        channels: channels of the first cells; the space's usual number by default.
        cells: cells, counted as the space counts them (in each of three stages for NAS-Bench-201, in all for DARTS); the space's usual
            number by default.
        stem: one of the space's; its first by default.
        weights: folder of pre-trained weights, which then say the channels and the stem.

    Raises:
        NetworkError: a size that is not positive, or weights that cannot be used.
        SpaceError: the space has no network, or no such stem.
    """
    width, depth = space.channels if channels is None else channels, space.cells if cells is None else cells
    if weights is not None:
        macro = macro_of(space)
        require(macro, "pretrained", f"weights={str(weights)!r}")
        loaded: Network = macro.from_weights(weights, classes=dataset.num_classes, layers=depth)
        return loaded
    chosen = {} if stem is None else {"stem": space.stem(stem)}
    made: Network = macro_of(space)(channels=width, cells=depth, classes=dataset.num_classes, input_channels=dataset.channels, **chosen)
    return made


def network_of_size(space: Space[Any], size: Mapping[str, int]) -> Network:
    """Return a space's network for colour images, of the ``channels``, ``cells`` and ``classes`` that a record names."""
    made: Network = macro_of(space)(**{name: size[name] for name in ("channels", "cells", "classes")}, input_channels=3)
    return made


def check_fit(network: Network, dataset: Dataset, *, error: type[JknasError]) -> None:
    """Raise unless the network reads what the data set holds, has its classes and channels, and can take the size of its examples.

    Images must be such that they can be halved twice. A network of other inputs names them in an attribute ``inputs`` and has
    ``check_inputs(length, name, *, error)``.

    Raises:
        JknasError: of the class ``error``; the message says what to change.
    """
    reads = getattr(network, "inputs", "images")
    if reads != dataset.inputs:
        raise error(
            f"the {type(network).__name__} reads {reads}, but {dataset.name} holds {dataset.inputs}: choose another data set, or a space "
            f"whose networks read {dataset.inputs}."
        )
    if reads == "tokens":
        _check_tokens(network, dataset, error)
        return
    for name, of_network, of_data in (
        ("classes", network.classes, dataset.num_classes),
        ("input_channels", network.input_channels, dataset.channels),
    ):
        if of_network != of_data:
            raise error(f"the network has {name}={of_network}, but {dataset.name} needs {of_data}: build it with {name}={of_data}.")
    if dataset.resolution % 4 or dataset.resolution < 8:
        raise error(
            f"{dataset.name} has images of {dataset.resolution}x{dataset.resolution} pixels; expected a multiple of 4, at least 8: "
            "load it with another resolution."
        )


def _check_tokens(network: Any, dataset: Dataset, error: type[JknasError]) -> None:
    if network.classes != dataset.num_classes:
        raise error(
            f"the network has classes={network.classes}, but {dataset.name} needs {dataset.num_classes}: build it with "
            f"classes={dataset.num_classes}."
        )
    if network.input_channels < dataset.channels:
        raise error(
            f"the network knows {network.input_channels} words, but the tokenizer of {dataset.name} {dataset.channels}: load the data set "
            "with the tokenizer of the weights."
        )
    network.check_inputs(dataset.resolution, dataset.name, error=error)
