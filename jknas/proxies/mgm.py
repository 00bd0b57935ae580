"""The scores of KNAS: Eq. (15), Eq. (16), and what the released code ranks by, which is defined for NAS-Bench-201 only.

All use per-example normalisation by default, which is what the released code does by training-mode batch normalisation at batch size one;
in the DARTS space, where that says next to nothing (:data:`jknas.proxies.proxy.IN_TRAINING_MODE`), normalisation over the batch.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError
from jknas.kernels.mgm import mean_gradient, mgm, mgm_layerwise
from jknas.kernels.mgm_released import ENTRIES, TENSORS, centred_half_product, last_example_norm
from jknas.kernels.objectives import Objective, Parameters
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.torch_order import leading_entries
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import IN_TRAINING_MODE, Batch, Proxy, Setting, model


def mgm_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    objective: Objective = "loss",
    parameters: Parameters = "all",
    statistics: Statistics = "example",
) -> Float[Array, ""]:
    """Return Eq. (15), see :func:`jknas.kernels.mgm.mgm`; the key is not used."""
    del key
    return mgm(model(network, wiring, statistics), params, batch.x, batch.labels, objective=objective, parameters=parameters)


def mgm_layerwise_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    objective: Objective = "loss",
    entries: str = "sampled",
    samples: int = 50,
    statistics: Statistics = "example",
) -> Float[Array, ""]:
    """Return Eq. (16) over the convolutions and the classifier.

    Args:
        network: the network.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels.
        key: draws the sampled parameters.
        objective: ``"loss"`` or ``"logits"``.
        entries: ``"sampled"`` draws ``samples`` parameters of every layer (the paper); ``"released"`` takes the tensors and entries of
            the released code, the first 50 entries of the first eleven eligible tensors, but averages them as Eq. (16) says; for
            NAS-Bench-201 only.
        samples: parameters per layer.
        statistics: what batch normalisation normalises over.

    Raises:
        ValueError: unknown ``entries``, or those of the released code in another space.
    """
    apply = model(network, wiring, statistics)
    if entries == "sampled":
        layers = layers_of(network, wiring)
        return mgm_layerwise(apply, params, batch.x, batch.labels, key=key, objective=objective, samples=samples, layers=layers)
    if entries != "released":
        raise ProxyError(f"entries={entries!r} is not known; choose 'sampled' or 'released'")
    reference = _require_reference(network)
    gradient = mean_gradient(apply, params, batch.x, batch.labels, objective=objective)
    values, taken = leading_entries(reference, gradient, wiring, entries=ENTRIES, tensors_taken=TENSORS)
    return jnp.sum(jnp.square(values)) / jnp.sum(taken)


_RELEASED_ELSEWHERE = (
    "the released code of KNAS exists for NAS-Bench-201 only: it takes the first tensors in the order in which that benchmark's networks "
    "register them, and there is no such order to follow in another space. Choose mgm, or mgm_layerwise with entries=sampled"
)


def _require_reference(network: Network) -> CellNetwork:
    if not isinstance(network, CellNetwork):
        raise ProxyError(_RELEASED_ELSEWHERE)
    return network


def _check_released(space: str, settings: Mapping[str, Setting]) -> None:
    if space != "nasbench201" and settings.get("entries", "released") == "released":
        raise ProxyError(f"in the space {space!r} this score is not defined: {_RELEASED_ELSEWHERE}.")


def _example_entries(network: CellNetwork, params: PyTree, wiring: Any, batch: Batch) -> Float[Array, "m e"]:
    apply = model(network, wiring, "example")
    gradient = mean_gradient(apply, params, batch.x, batch.labels, objective="loss")
    return leading_entries(network, gradient, wiring, entries=ENTRIES, tensors_taken=TENSORS)[0]


def mgm_released_score(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, aliased: bool = False
) -> Float[Array, ""]:
    """Return the released code's statistic, see :mod:`jknas.kernels.mgm_released`.

    Args:
        network: the network.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels, 50 of them in the released code; an even number.
        key: not used.
        aliased: the behaviour under PyTorch before 2 (the squared norm of the last example's entries) instead of the formula as written.

    Raises:
        ProxyError: in another space than NAS-Bench-201.
    """
    del key
    reference = _require_reference(network)
    if aliased:
        last = Batch(batch.x[-1:], batch.labels[-1:])
        return last_example_norm(_example_entries(reference, params, wiring, last))
    # One example at a time: a vmapped weight gradient would become a grouped convolution, slow on every backend.
    singles = jax.tree.map(lambda a: a[:, None], batch)
    return centred_half_product(jax.lax.map(lambda one: _example_entries(reference, params, wiring, one), singles))


_KNAS = "Xu et al., KNAS: Green Neural Architecture Search, ICML 2021, arXiv:2111.13293"

PROXIES = (
    Proxy(
        name="mgm",
        score=mgm_score,
        summary="mean of the Gram matrix of loss gradients: squared norm of the mean gradient",
        reference=f"{_KNAS}, Eq. (15), with the loss as in the released code",
        cost="1 backward pass",
        settings={"objective": "loss", "parameters": "all", "statistics": "example"},
        settings_in=IN_TRAINING_MODE,
    ),
    Proxy(
        name="mgm_logits",
        score=mgm_score,
        summary="Eq. (15) read literally: gradients of the summed outputs",
        reference=f"{_KNAS}, Eq. (15)",
        cost="1 backward pass",
        needs_labels=False,
        settings={"objective": "logits", "parameters": "all", "statistics": "example"},
        settings_in=IN_TRAINING_MODE,
    ),
    Proxy(
        name="mgm_layerwise",
        score=mgm_layerwise_score,
        summary="MGM of 50 sampled parameters a layer, averaged over the layers",
        reference=f"{_KNAS}, Eq. (16)",
        cost="1 backward pass",
        settings={"objective": "loss", "entries": "sampled", "samples": 50, "statistics": "example"},
        settings_in=IN_TRAINING_MODE,
        check=_check_released,
    ),
    Proxy(
        name="mgm_released",
        score=mgm_released_score,
        summary="the released statistic with true per-example gradients; noise around zero",
        reference="github.com/Jingjing-NLP/KNAS under PyTorch 2 and later",
        cost="50 backward passes at batch size one",
        batch_size=50,
        settings={"aliased": False},
        check=_check_released,
    ),
    Proxy(
        name="mgm_released_aliased",
        score=mgm_released_score,
        summary="what the released statistic ranks by: squared gradient norm of one example over early layers",
        reference="github.com/Jingjing-NLP/KNAS under PyTorch before 2",
        cost="1 backward pass at batch size one",
        batch_size=50,
        settings={"aliased": True},
        check=_check_released,
    ),
)
