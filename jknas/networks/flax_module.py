"""The network of one architecture as a Flax module."""

from collections.abc import Hashable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jknas.networks.layers.initialisation import Scheme

_COLLECTIONS = ("params", "batch_stats")


class Arrays(nn.Module):
    """Declare the arrays of one dictionary of variables, and those of the dictionaries in it as modules of their own.

    Attributes:
        trees: the arrays or their shapes by collection, behind a function, because Flax would copy dictionaries.
    """

    trees: Any

    @nn.compact
    def __call__(self) -> None:
        """Declare."""
        declare(self, self.trees())


def declare(module: nn.Module, trees: dict[str, Any]) -> None:
    """Declare variables in a module; the trees hold arrays, which become its initial values, or shapes where it has values already."""
    for name in dict.fromkeys(name for tree in trees.values() for name in tree):
        parts = {collection: tree[name] for collection, tree in trees.items() if name in tree}
        if any(isinstance(part, dict) for part in parts.values()):
            Arrays(lambda parts=parts: parts, name=name)()
            for collection in (collection for collection, part in parts.items() if not part):  # Flax leaves out what is empty
                if module.is_mutable_collection(collection):
                    module.put_variable(collection, name, {})
            continue
        for collection, leaf in parts.items():
            value = leaf if isinstance(leaf, jax.Array) else jnp.zeros(leaf.shape, leaf.dtype)
            if collection == "params":
                module.param(name, lambda _, value=value: value)
            else:
                module.variable(collection, name, lambda value=value: value)


def _values(tree: Any, variables: Any) -> Any:
    """Return a module's variables in the structure of ``tree``, with its empty dictionaries."""
    return {name: _values(part, variables.get(name, {})) if isinstance(part, dict) else variables[name] for name, part in tree.items()}


class NetworkModule(nn.Module):
    """A network of jknas, wired by one genotype, for code that expects Flax.

    It declares the variables of ``network.init(key, genotype)`` under their names and calls the network's own functions: what is trained,
    scored and searched is what runs here. ``nn.tabulate`` lists the layers.

    >>> import jax, jax.numpy as jnp
    >>> from jknas.networks import CellNetwork
    >>> from jknas.spaces.nasbench201.index import genotype_at
    >>> module = CellNetwork(channels=4, cells=1).module(genotype_at(1462))
    >>> variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    >>> module.apply(variables, jnp.zeros((2, 8, 8, 3))).shape
    (2, 10)

    Attributes:
        network: a network with ``init``, ``apply`` and ``train_apply``.
        genotype: the architecture.
        scheme: initialisation, see :mod:`jknas.networks.layers.initialisation`.
        drop_path: probability of drop path in training, for networks that have it; it needs ``rngs={"dropout": key}``.
    """

    network: Any
    genotype: Hashable
    scheme: Scheme = "pytorch"
    drop_path: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Compute the logits ``[n, k]`` of images ``[n, h, w, c]``.

        Args:
            x: images, channels last, normalised as in training.
            train: normalise over the batch and move the running averages, which needs ``mutable=["batch_stats"]``; otherwise use them.
                The logits of an auxiliary classifier are sown as ``intermediates/auxiliary_logits``.
        """

        def draw(key: jax.Array) -> Any:
            return self.network.init(key, self.genotype, scheme=self.scheme)

        drawn = draw(self.make_rng("params")) if self.is_initializing() else jax.eval_shape(draw, jax.random.key(0))
        declare(self, drawn)
        params, averages = (_values(drawn[collection], self.variables.get(collection, {})) for collection in _COLLECTIONS)
        if not train or self.is_initializing():
            return self.network.apply(params, x, self.genotype, statistics="running", batch_stats=averages)
        dropping = {"key": self.make_rng("dropout"), "drop_path": self.drop_path} if self.drop_path else {}
        logits, auxiliary, moved = self.network.train_apply(params, averages, x, self.genotype, **dropping)
        if auxiliary is not None:
            self.sow("intermediates", "auxiliary_logits", auxiliary)
        for name, tree in moved.items():
            self.put_variable("batch_stats", name, tree)
        return logits
