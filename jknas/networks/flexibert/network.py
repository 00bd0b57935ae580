"""The network of a FlexiBERT encoder **as trained**: functions of arrays and of a wiring.

The wiring is a genotype, whose alternatives alone are in the program, or its code, traced: one compiled program then computes every encoder
of the space, and runs only what the code chooses. Operators have no effect: :mod:`jknas.spaces.flexibert.genotype` says why.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import JknasError, NetworkError
from jknas.networks.flexibert.choices import choices_of, kernel_layers, restricted
from jknas.networks.flexibert.encoder import Classifier, EncoderSize
from jknas.networks.layers.initialisation import Scheme, check_scheme
from jknas.networks.sizes import check_sizes
from jknas.networks.token_network import TokenNetwork
from jknas.spaces.flexibert.cost import EMBEDDING, POSITIONS, VOCABULARY, check_cells
from jknas.spaces.flexibert.genotype import HEADS, PLACES, FlexibertGenotype

_DEVIATION, _CUT = 0.02, 2.0  # TensorFlow's truncated normal: cut at two deviations, so that .0176 is left


@dataclass(frozen=True)
class FlexibertNetwork(TokenNetwork):
    """The size of the encoders with a classifier; its methods are pure functions of their arguments.

    Attributes:
        channels: width of the embeddings, E, and of the narrow states; all other widths are multiples of it. 128 as published; smaller
            numbers give smaller networks of the same shapes.
        cells: the most layers, 4; the genotype says how many there are.
        classes: number of outputs, K.
        input_channels: rows of the table of words, V: a token is a one-hot input of V channels.
        positions: rows of the table of positions.

    Raises:
        NetworkError: a size that is not positive, channels that cannot be shared out to four heads, or other ``cells``.
    """

    channels: int = EMBEDDING
    cells: int = 4
    classes: int = 2
    input_channels: int = VOCABULARY
    positions: int = POSITIONS

    genotypes: ClassVar[type] = FlexibertGenotype

    kernel_layers = staticmethod(kernel_layers)
    _read = staticmethod(choices_of)

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "cells", "classes", "input_channels", "positions")
        try:
            check_cells(self.cells)
        except JknasError as error:
            raise NetworkError(str(error)) from error
        if self.channels % max(HEADS):
            raise NetworkError(f"channels = {self.channels} cannot be shared out to {max(HEADS)} heads: choose a multiple as channels.")

    @property
    def size(self) -> EncoderSize:
        """The size of the encoders."""
        return EncoderSize(self.channels, self.input_channels, self.positions)

    @property
    def own_size(self) -> dict[str, Any]:
        """What a record says about the size besides channels, cells and classes, where it is not as published."""
        return {} if self.positions == POSITIONS else {"positions": self.positions}

    @property
    def longest(self) -> int:
        """The most tokens in a sequence."""
        return self.positions

    def init(self, key: PRNGKeyArray, genotype: FlexibertGenotype | None = None, *, scheme: Scheme = "pytorch") -> dict[str, Any]:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: draw the parameters of this encoder; None: of all alternatives. Those of a genotype are a part of the latter.
            scheme: ``pytorch``: as the benchmark draws them: matrices and embeddings normal with deviation .02, cut at two deviations,
                so that .0176 is left; the matrices behind the embeddings and of the classifier uniform after Glorot; biases zero. Other
                schemes (:mod:`jknas.networks.layers.initialisation`) draw the matrices; the embeddings stay as they are.

        Returns:
            ``{"params", "batch_stats"}``, the latter empty.
        """
        check_scheme(scheme)
        params = _drawn(self, scheme, key)
        return {"params": params if genotype is None else self.restrict(params, genotype), "batch_stats": {}}

    def apply_without_normalisation(self, params: PyTree, x: Array, wiring: Any) -> Float[Array, "n k"]:
        """Compute the logits without normalisations.

        Arguments and errors are those of :meth:`apply`. Sequences may be numbers instead of ids, as synflow's input of ones: see
        :class:`jknas.networks.layers.transformer.Embeddings`.
        """
        return self._run(Classifier(replace(self.size, epsilon=None), self.classes), params, x, wiring)

    def restrict(self, tree: PyTree, genotype: FlexibertGenotype) -> PyTree:
        """Return the part of the parameters of all alternatives that a genotype uses."""
        return restricted(tree, choices_of(genotype))

    def _classifier(self, dropout: float = 0.0) -> Classifier:
        return Classifier(self.size, self.classes, dropout)


@functools.lru_cache
def _shapes(network: FlexibertNetwork) -> PyTree:
    """Return the shapes of the parameters of all alternatives. Cached, since to trace a module takes a while."""
    tokens, code = jax.ShapeDtypeStruct((1, 3, 1), jnp.int32), jax.ShapeDtypeStruct((len(PLACES),), jnp.int32)
    module = network._classifier()
    return jax.eval_shape(lambda x, code: module.init(jax.random.key(0), x, choices_of(code)), tokens, code)["params"]


def _drawn(network: FlexibertNetwork, scheme: Scheme, key: PRNGKeyArray) -> PyTree:
    """Draw the parameters of all alternatives, cut from one draw of each distribution: a draw for every array would compile long."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(_shapes(network))
    dtype, kinds = jnp.result_type(float), [_kind(path, scheme) for path, _ in leaves]
    pools = {}
    for number, (kind, draw) in enumerate(_DRAWS.items()):
        count = sum(math.prod(leaf.shape) for own, (_, leaf) in zip(kinds, leaves, strict=True) if own == kind)
        pools[kind] = draw(jax.random.fold_in(key, number), (count,), dtype) if count else None
    starts = dict.fromkeys(pools, 0)
    drawn = []
    for kind, (path, leaf) in zip(kinds, leaves, strict=True):
        if kind == "constant":
            drawn.append(jnp.full(leaf.shape, float(path[-1].key == "scale"), dtype))
            continue
        drawn.append(_part(pools[kind], starts[kind], _deviation(kind, leaf.shape, scheme), shape=leaf.shape))
        starts[kind] += math.prod(leaf.shape)
    return jax.tree_util.tree_unflatten(structure, drawn)


@functools.partial(jax.jit, static_argnames="shape")
def _part(pool: Array, start: int, factor: float, *, shape: tuple[int, ...]) -> Array:
    """Cut an array from the numbers drawn. Compiled for each shape, of which there are few."""
    part = jax.lax.dynamic_slice(pool, (start,), (math.prod(shape),)).reshape(shape)
    return part * jnp.asarray(factor, pool.dtype)


_DRAWS = {
    "truncated": lambda key, shape, dtype: jax.random.truncated_normal(key, -_CUT, _CUT, shape, dtype),
    "uniform": lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -1, 1),
    "normal": jax.random.normal,
}


def _kind(path: tuple[Any, ...], scheme: Scheme) -> str:
    """Return the distribution of a parameter."""
    names = [part.key for part in path]
    if names[-1] in {"scale", "bias"}:
        return "constant"
    if names[-1] == "embedding":
        return "truncated"
    if scheme != "pytorch":
        return "normal"
    return "uniform" if "projection" in names or names[0] == "head" else "truncated"


def _deviation(kind: str, shape: tuple[int, ...], scheme: Scheme) -> float:
    """Return the factor of the numbers drawn."""
    if kind == "truncated":
        return _DEVIATION
    if kind == "uniform":
        return math.sqrt(6 / sum(shape))
    return {"he_normal": math.sqrt(2 / shape[0]), "he_normal_out": math.sqrt(2 / shape[1]), "normal": 1.0}[scheme]
