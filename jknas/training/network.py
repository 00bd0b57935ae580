"""What training asks of a network, in addition to what scoring asks.

A network that can be trained has the capability "trainable" (:data:`jknas.networks.families.CAPABILITIES`), and ``apply`` takes
``statistics="running"`` with ``batch_stats``. It may also have ``genotypes`` (the type of its genotypes), ``restrict(tree, genotype)`` (the
part of all candidates' arrays that a genotype uses), ``has_drop_path`` (whether ``train_apply`` drops paths), ``has_dropout`` (whether it
takes ``dropout``), ``has_draws`` (whether it is to have a key in any case) and ``auxiliary`` (whether it returns the logits of an auxiliary
classifier).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jknas.errors import TrainingError
from jknas.networks.network import Network


def part_of(network: Any, variables: Mapping[str, Any], genotype: Any) -> dict[str, PyTree]:
    """Return the parameters and running averages that a genotype uses; all of them where a network has no ``restrict``."""
    trees = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
    return {name: network.restrict(tree, genotype) for name, tree in trees.items()} if hasattr(network, "restrict") else trees


def code_of(genotype: Any) -> Int[Array, " edges"]:
    """Return a genotype's code as an array; empty where it has none, which is enough for static wirings."""
    return jnp.asarray(getattr(genotype, "code", ()), jnp.int32)


def can_have_auxiliary(network: Network) -> bool:
    """Return whether networks of this kind may be built with an auxiliary classifier."""
    return dataclasses.is_dataclass(network) and any(field.name == "auxiliary" for field in dataclasses.fields(network))


def with_auxiliary(network: Network) -> Network:
    """Return the network with an auxiliary classifier, or raise TrainingError when no network of its kind has one."""
    if not can_have_auxiliary(network):
        raise TrainingError(f"{type(network).__name__}s have no auxiliary classifier: set the recipe's auxiliary_weight to 0.")
    return dataclasses.replace(network, auxiliary=True)  # type: ignore[type-var]
