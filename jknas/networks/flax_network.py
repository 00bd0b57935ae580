"""Your own Flax module as the network of a search space.

Subclass :class:`FlaxNetwork`, return your module from :meth:`FlaxNetwork.definition`, and name the subclass as ``networks`` of your space:
scoring, searching and training then work as they do for the spaces of this package. More proxies apply once the class has more capabilities
(:data:`jknas.networks.families.CAPABILITIES`), which are methods. Scores that sum over layers see every array of two or more axes, also
those of operations that a genotype does not choose, until the class has ``kernel_layers``.

Scores in a store and checkpoints know a network by the name of its space, by its sizes, and by what the class's property ``own_facts``
returns, a mapping: put a version there, and raise it when you change the module, so that what was computed before does not answer.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.initialisation import Scheme, check_scheme, draw_parameters
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.sizes import check_sizes
from jknas.spaces.edges import EdgeGenotype

_SIDE = 8  # height and width of the images that declare the parameters


@dataclass(frozen=True)
class FlaxNetwork:
    """The size of a network that a Flax module defines; its methods are pure functions of their arguments.

    Attributes:
        channels: channels of the first cells.
        cells: cells, counted as the space counts them.
        classes: number of outputs, K.
        input_channels: channels of the images.
    """

    channels: int = 16
    cells: int = 1
    classes: int = 10
    input_channels: int = 3

    genotypes: ClassVar[type] = EdgeGenotype
    """Type of the space's genotypes."""
    recipe: ClassVar[str] = "nasbench201-12"
    """Name of the training recipe that searches use by default."""
    has_draws: ClassVar[bool] = True
    """Whether training passes a key for what the module draws, such as dropout."""
    score_statistics: ClassVar[Statistics] = "example"
    """What normalisation layers normalise over where a proxy leaves it open: each image alone, or the ``batch``."""

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "cells", "classes", "input_channels")

    def definition(self) -> nn.Module:
        """Return the module, called as ``module(x, code, train)``. Override this.

        ``x`` are images ``[n, h, w, c]`` of any size, ``code`` is the genotype as integers ``[edges]``, traced: one compiled program serves
        the whole space. ``train`` is a bool for ``nn.BatchNorm(use_running_average=not train)`` and ``nn.Dropout(deterministic=not
        train)``; scores, which run in training mode, draw dropout from a key that is always the same. The module must declare the
        parameters of every candidate operation, whatever the code. It returns logits ``[n, classes]``.
        """
        raise NetworkError(f"{type(self).__name__} defines no network: override definition() and return a flax.linen.Module.")

    def init(self, key: jax.Array, genotype: Any = None, *, scheme: Scheme = "pytorch") -> dict[str, Any]:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: not used; the parameters of every candidate operation are drawn.
            scheme: how arrays named ``kernel`` are drawn, see :mod:`jknas.networks.layers.initialisation`; the module's own
                initialisers draw all others.

        Returns:
            ``{"params", "batch_stats"}``.

        Raises:
            NetworkError: an unknown scheme, or a module that cannot be called as :meth:`definition` says.
        """
        check_scheme(scheme)
        variables = self._declare(key)
        leaves, structure = jax.tree_util.tree_flatten_with_path(variables["params"])
        named = [(jax.tree_util.keystr(path), path[-1].key == "kernel", leaf) for path, leaf in leaves]
        shapes = {name: {"kernel": jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)} for name, is_kernel, leaf in named if is_kernel}
        drawn = draw_parameters(jax.random.fold_in(key, 1), shapes, scheme) if shapes else {}
        params = jax.tree_util.tree_unflatten(structure, [drawn[name]["kernel"] if name in drawn else leaf for name, _, leaf in named])
        return {"params": params, "batch_stats": variables.get("batch_stats", {})}

    def apply(
        self,
        params: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Any,
        *,
        statistics: Statistics = "example",
        batch_stats: PyTree | None = None,
    ) -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`.
            x: images, channels last.
            wiring: a genotype, or its code, traced or not.
            statistics: ``"batch"``: training mode. ``"example"``: training mode on each image alone. ``"running"``: evaluation mode.
            batch_stats: running averages, for ``"running"``.

        Raises:
            NetworkError: ``statistics="none"`` (give your class ``apply_without_normalisation``), or missing running averages.
        """
        check_statistics(statistics, batch_stats)
        code = self._code(wiring)
        if statistics == "running":
            variables: Any = {"params": _as_precise_as(x, params), "batch_stats": batch_stats}
            logits: Any = self.definition().apply(variables, x, code, False)
            return logits
        if statistics == "none":
            raise NetworkError(f"{type(self).__name__} is not defined without normalisation: give it apply_without_normalisation.")
        averages = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _declared(self).get("batch_stats", {}))
        if statistics == "batch":
            return self._train(params, averages, x, code)[0]
        return jax.vmap(lambda image: self._train(params, averages, image[None], code)[0][0])(x)

    def train_apply(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Any,
        *,
        key: jax.Array | None = None,
        drop_path: float = 0.0,
    ) -> tuple[Float[Array, "n k"], None, PyTree]:
        """Return the logits in training mode, None (there is no auxiliary classifier), and the moved running averages."""
        del drop_path
        logits, moved = self._train(params, batch_stats, x, self._code(wiring), key)
        return logits, None, moved

    def restrict(self, tree: PyTree, genotype: Any) -> PyTree:
        """Return the tree as it is: a genotype's network keeps the parameters of every candidate operation."""
        return tree

    def _train(
        self, params: PyTree, batch_stats: PyTree, x: jax.Array, code: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, PyTree]:
        variables = {"params": _as_precise_as(x, params), "batch_stats": batch_stats}
        rngs = {"dropout": jax.random.key(0) if key is None else key}
        logits, moved = self.definition().apply(variables, x, code, True, mutable=["batch_stats"], rngs=rngs)
        return logits, moved.get("batch_stats", batch_stats)

    def _declare(self, key: jax.Array) -> dict[str, Any]:
        images = jnp.zeros((1, _SIDE, _SIDE, self.input_channels), jnp.result_type(float))
        return dict(self.definition().init(key, images, jnp.zeros((self._edges(),), jnp.int32), True))

    def _edges(self) -> int:
        edges = getattr(type(self), "num_edges", None)
        if not isinstance(edges, int):
            raise NetworkError(f"{type(self).__name__} needs the class attribute num_edges, the length of a code.")
        return edges

    def _code(self, wiring: Any) -> Int[Array, " edges"]:
        if isinstance(wiring, str):
            raise TypeError("wiring is a string; parse it first with the space's parse")
        code = jnp.asarray(getattr(wiring, "code", wiring))
        if code.shape != (self._edges(),) or not jnp.issubdtype(code.dtype, jnp.integer):
            raise NetworkError(f"wiring must be a genotype or a code, integers [{self._edges()}], got {code.dtype}{list(code.shape)}")
        return code


def _as_precise_as(x: jax.Array, params: PyTree) -> PyTree:
    """Return parameters for images in half precision in that precision, by which a Flax module then computes; others as they are."""
    return jax.tree.map(lambda leaf: leaf.astype(x.dtype), params) if x.dtype == jnp.bfloat16 else params


@functools.lru_cache
def _declared(network: FlaxNetwork) -> dict[str, Any]:
    """Shapes of a module's variables. Cached, since to trace a module takes a while."""
    return jax.eval_shape(lambda: network._declare(jax.random.key(0)))
