"""The tensors of the reference networks in PyTorch, ``NetworkCIFAR`` and ``NetworkImageNet`` of github.com/quark0/darts.

They are listed in the reference's order of registration: stem, cells, auxiliary head, classifier; in a cell the two preprocessings and then
the operations in the order of the genotype's pairs.
"""

from typing import Any

from jknas.networks.darts.operations import BLOCKS, PLACES, has_weights
from jknas.networks.darts.parameters import chosen_edges, edge_name
from jknas.networks.torch_state import Tensor, linear_tensors, norm_tensors
from jknas.spaces.darts.genotype import NODES, DartsGenotype

_STEMS = {
    "cifar": {"first": ("stem.0", "stem.1")},
    "imagenet": {"first": ("stem0.0", "stem0.1"), "second": ("stem0.3", "stem0.4"), "third": ("stem1.1", "stem1.2")},
}
"""The names of each convolution of a stem, and of the normalisation that follows it."""


def tensors(network: Any, genotype: DartsGenotype) -> list[Tensor]:
    """List every parameter and running average of the reference network, in its order of registration.

    Args:
        network: a ``DartsNetwork``, with its auxiliary classifier if it has one.
        genotype: the architecture; the pairs of a node keep their order.
    """
    found: list[Tensor] = []
    for part, (conv, norm) in _STEMS[network.stem].items():
        found += _convolution(conv, ("stem", part)) + norm_tensors(norm, ("stem", part, "norm"))
    for run in network.runs():
        for row in range(run.length):
            found += _cell(f"cells.{run.first + row}", ("cells", run.name), row, genotype, run.plan)
    if network.auxiliary:
        for part, place in (("first", 2), ("second", 5)):
            found += _convolution(f"auxiliary_head.features.{place}", ("auxiliary", part))
            if part == "first" or network.stem == "cifar":
                found += norm_tensors(f"auxiliary_head.features.{place + 1}", ("auxiliary", part, "norm"))
        found += linear_tensors("auxiliary_head.classifier", "auxiliary")
    return found + linear_tensors("classifier")


def _convolution(name: str, path: tuple[str, ...], row: int | None = None) -> list[Tensor]:
    return [Tensor(f"{name}.weight", "params", (*path, "kernel"), row)]


def _reduce(name: str, path: tuple[str, ...], row: int) -> list[Tensor]:
    """List a factorized reduction."""
    halves = _convolution(f"{name}.conv_1", (*path, "even"), row) + _convolution(f"{name}.conv_2", (*path, "odd"), row)
    return halves + norm_tensors(f"{name}.bn", (*path, "norm"), row)


def _cell(name: str, path: tuple[str, ...], row: int, genotype: DartsGenotype, plan: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for part, halved in (("preprocess0", plan.halved), ("preprocess1", False)):
        own = (*path, part)
        if halved:
            found += _reduce(f"{name}.{part}", own, row)
        else:
            found += _convolution(f"{name}.{part}.op.1", own, row) + norm_tensors(f"{name}.{part}.op.2", (*own, "norm"), row)
    for place, (node, source, operation) in enumerate(chosen_edges(genotype, reduction=plan.reduction)):
        own, stride = (*path, edge_name(node, source, operation)), 2 if plan.reduction and source < NODES[0] else 1
        if operation == "skip_connect" and has_weights(operation, stride):
            found += _reduce(f"{name}._ops.{place}", (*own, "first"), row)
        for at, block in enumerate(PLACES[: len(BLOCKS.get(operation, ()))]):
            inside, first = f"{name}._ops.{place}.op", 4 * at
            found += _convolution(f"{inside}.{first + 1}", (*own, block, "depthwise"), row)
            found += _convolution(f"{inside}.{first + 2}", (*own, block, "pointwise"), row)
            found += norm_tensors(f"{inside}.{first + 3}", (*own, block, "norm"), row)
    return found
