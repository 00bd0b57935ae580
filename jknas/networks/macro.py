"""What the macro networks of the built-in spaces share: sizes, parameters, the forward passes that scores and training ask for, weights."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks import torch_state
from jknas.networks.flax_module import NetworkModule
from jknas.networks.layers.initialisation import Scheme, draw_parameters
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.parameters import Averages, Shapes, Variables, unit_averages
from jknas.networks.sizes import check_sizes
from jknas.networks.wiring import Wiring

Images = Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"]


@dataclass(frozen=True)
class MacroNetwork:
    """A network of cells. Its fields are its size; its methods are pure functions of their arguments.

    A subclass gives ``_shapes``, ``restrict``, ``_run`` and ``torch_tensors``.

    Attributes:
        channels: channels of the first cells, C.
        cells: cells, counted as the space counts them.
        classes: number of outputs, K.
        input_channels: channels of the images.
    """

    channels: int = 16
    cells: int = 5
    classes: int = 10
    input_channels: int = 3

    genotypes: ClassVar[type]
    recipe: ClassVar[str]

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "cells", "classes", "input_channels")

    # ---- to be given

    def _shapes(self) -> Shapes:
        """Return the shapes of the parameters of all candidate operations."""
        raise NotImplementedError

    def restrict(self, tree: PyTree, genotype: Any) -> PyTree:
        """Return the part of full ``params`` or ``batch_stats`` that a genotype uses."""
        raise NotImplementedError

    def torch_tensors(self, genotype: Any) -> list[torch_state.Tensor]:
        """List the tensors of the reference network in PyTorch, in its order of registration."""
        raise NotImplementedError

    def _run(
        self, params: PyTree, batch_stats: PyTree, x: jax.Array, wiring: Wiring, statistics: Statistics
    ) -> tuple[jax.Array, jax.Array | None, PyTree]:
        """Return the logits, those of the auxiliary classifier or None, and the moved running averages."""
        raise NotImplementedError

    # ---- given

    def init(self, key: PRNGKeyArray, genotype: Any = None, *, scheme: Scheme = "pytorch") -> Variables:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: draw only this architecture's parameters; None draws those of every candidate operation, for codes and mixture
                weights. The full set is drawn in both cases and then cut, so that a genotype's parameters equal its part of it.
            scheme: see :mod:`jknas.networks.layers.initialisation`.

        Returns:
            ``{"params", "batch_stats"}``.

        Raises:
            NetworkError: an unknown scheme.
            TypeError: ``genotype`` is neither a genotype of the space nor None.
        """
        wanted = self.genotypes.__name__
        if genotype is not None and not isinstance(genotype, self.genotypes):
            raise TypeError(f"init takes a {wanted} or None, got {type(genotype).__name__}; parse strings with {wanted}.parse")
        params = self._draw(key, scheme)
        variables = {"params": params, "batch_stats": self.unit_averages(params)}
        return variables if genotype is None else {name: self.restrict(tree, genotype) for name, tree in variables.items()}

    def unit_averages(self, params: PyTree) -> Averages:
        """Return the running averages of parameters that were not trained yet."""
        return unit_averages(params)

    def _draw(self, key: PRNGKeyArray, scheme: Scheme) -> PyTree:
        return draw_parameters(key, self._shapes(), scheme)

    def apply(
        self,
        params: PyTree,
        x: Images,
        wiring: Wiring,
        *,
        statistics: Statistics = "example",
        batch_stats: PyTree | None = None,
    ) -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`; a genotype also runs on the full set.
            x: images, channels last; the error says which sizes suit the network.
            wiring: genotype, code, or mixture weights (see :mod:`jknas.networks.wiring`). Each new genotype is a compilation, all codes
                share one, all mixtures another.
            statistics: what batch normalisation normalises over; ``"running"`` needs ``batch_stats``.
            batch_stats: running averages.

        Raises:
            NetworkError: an unknown statistics name, missing running averages, images of the wrong shape, an array that is no wiring, or
                parameters without an operation that the wiring may use.
            TypeError: the wiring is a string.
        """
        check_statistics(statistics, batch_stats)
        stats = self.unit_averages(params) if batch_stats is None else batch_stats
        return self._run(params, stats, jnp.asarray(x), wiring, statistics)[0]

    def apply_and_update(self, params: PyTree, batch_stats: PyTree, x: Images, wiring: Wiring) -> tuple[Float[Array, "n k"], PyTree]:
        """Compute the logits in training mode (batch statistics), and return them with the moved running averages.

        As in PyTorch the averages keep nine tenths of their value and take the *unbiased* batch variance. With a genotype or a code,
        operations that are not chosen keep theirs, and so does an auxiliary classifier, which does not run here.
        """
        logits, _, averages = self._run(params, batch_stats, jnp.asarray(x), wiring, "batch")
        return logits, averages

    def apply_without_normalisation(self, params: PyTree, x: Images, wiring: Wiring) -> Float[Array, "n k"]:
        """Return the logits of the network without any normalisation."""
        return self.apply(params, x, wiring, statistics="none")

    def module(self, genotype: Any) -> nn.Module:
        """Return the network of one genotype as a Flax module, see :class:`~jknas.networks.flax_module.NetworkModule`."""
        return NetworkModule(self, genotype)

    to_state_dict = torch_state.to_state_dict
    from_state_dict = torch_state.from_state_dict
