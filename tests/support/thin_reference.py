"""TE-NAS's thin network written out in NumPy with one hook a ReLU, and its parameters from recordings and from the golden formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from golden import _sine

from jknas.networks.nasbench201.cell import KERNEL_SIZES, edge_name
from jknas.spaces.nasbench201.genotype import EDGES


def distinct(rows):
    """Count distinct rows by brute force."""
    return len({tuple(row) for row in np.asarray(rows).tolist()})


def _convolve(x, kernel):
    """Same-size convolution of [n, h, w] with [k, k], as a sum of shifts."""
    reach, (_, height, width) = len(kernel) // 2, x.shape
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    return sum(kernel[i, j] * padded[:, i : i + height, j : j + width] for i in range(len(kernel)) for j in range(len(kernel)))


def _normalise(x, norm):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * float(norm["scale"][0]) + float(norm["bias"][0])


def reference(params, x, weights):
    """Return logits, and the input of the ReLU of every executed convolution and the last one, in order of execution.

    One channel; ``weights`` [6, 5] as mixture weights.
    """
    x, hooked = np.asarray(x, np.float64)[..., 0], []
    counted = _convolve(np.ones_like(x), np.ones((3, 3)))
    nodes = [x, *(np.zeros_like(x) for _ in range(3))]
    for edge, (target, source) in enumerate(EDGES):
        _, skip, *convolutions, average = np.asarray(weights[edge])
        value = nodes[source]
        if skip > 0.01:
            nodes[target] = nodes[target] + skip * value
        for weight, name in zip(convolutions, KERNEL_SIZES, strict=True):
            if weight > 0.01:
                layer = params["cell"][f"{edge_name(edge)}_{name}"]
                hooked.append(value)
                kernel = np.asarray(layer["kernel"])[:, :, 0, 0]
                nodes[target] = nodes[target] + weight * _normalise(_convolve(np.maximum(value, 0), kernel), layer["norm"])
        if average > 0.01:
            nodes[target] = nodes[target] + average * _convolve(value, np.ones((3, 3))) / counted
    last = _normalise(nodes[3], params["last_norm"])
    pooled = np.maximum(last, 0).mean((1, 2))[:, None]
    logits = pooled @ np.asarray(params["classifier"]) + np.asarray(params["classifier_bias"])
    return logits, np.stack([*hooked, last], axis=1).reshape(len(x), -1)


def hooked_bits(live, activations):
    """Return the bits in the released order: each executed convolution repeats those of the node it reads.

    ``activations`` are those of a code or of mixture weights: nodes 0 to 2 and the last ReLU's.
    """
    *nodes, last = (np.asarray(values > 0).reshape(len(values), -1) for values in activations)
    read = [nodes[source] for edge, (_, source) in enumerate(EDGES) for digit in (2, 3) if live[edge, digit]]
    return np.concatenate([*read, last], axis=1)


def from_state(state):
    """Convert a recorded state_dict; the stem is not run and left out."""
    params = {
        "cell": {
            f"{edge_name(edge)}_{name}": {
                "kernel": state[f"cells.0.edges.{target}<-{source}.{digit}.op.1.weight"].transpose(2, 3, 1, 0),
                "norm": _norm(state, f"cells.0.edges.{target}<-{source}.{digit}.op.2"),
            }
            for edge, (target, source) in enumerate(EDGES)
            for digit, name in ((2, "nor_conv_1x1"), (3, "nor_conv_3x3"))
        },
        "last_norm": _norm(state, "lastact.0"),
        "classifier": state["classifier.weight"].T,
        "classifier_bias": state["classifier.bias"],
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)


def _norm(state, name):
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}


def golden_params(network):
    """Fill a thin network by the formula of :mod:`golden`: all candidates count, edge by edge; the stem does not."""
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0)))
    layers = [params["cell"][f"{edge_name(edge)}_{name}"] for edge in range(len(EDGES)) for name in KERNEL_SIZES]
    for number, layer in enumerate(layers):
        shape = layer["kernel"].shape
        values = _sine(math.prod(shape), number).reshape(shape[:-3:-1] + shape[:-2]) * math.sqrt(2 / math.prod(shape[:-1]))
        layer["kernel"] = jnp.asarray(values.transpose(2, 3, 1, 0))
    for norm in (*(layer["norm"] for layer in layers), params["last_norm"]):
        norm["scale"] = jnp.ones_like(norm["scale"])
    return params
