"""A DARTS network of one genotype, written out operation by operation, that keeps everything it computes on the way."""

import math

import jax
import jax.numpy as jnp
from jax import lax


class Kept:
    """What one forward pass came across, in its order.

    Attributes:
        relus: what every ReLU reads.
        convolutions: outputs of all convolutions and of the classifier.
        fans: the number of weights behind one of their channels.
        variances: mean over channels of the unbiased batch variance in front of every normalisation.
        normalised: outputs of all normalisations.
        blocks: outputs of the stem and of the cells.
    """

    def __init__(self):
        self.relus, self.convolutions, self.fans, self.variances, self.normalised, self.blocks = [], [], [], [], [], []

    def arrays(self):
        return {name: value for name, value in vars(self).items() if name != "fans"}


def plain_darts(network, genotype, params, x, *, added=(), bumps=()):
    """Return the logits and what was kept; ``added[i]`` is added to the i-th convolution's output, ``bumps[i]`` to the i-th block's."""
    kept = Kept()

    def relu(x):
        kept.relus.append(x)
        return jnp.maximum(x, 0)

    def out(y, fan):
        kept.convolutions.append(y)
        kept.fans.append(fan)
        return y + added[len(kept.fans) - 1] if added else y

    def conv(x, kernel, stride=1, dilation=1):
        size, groups = kernel.shape[0], x.shape[-1] // kernel.shape[2]
        padding = [(dilation * (size - 1) // 2,) * 2] * 2
        y = lax.conv_general_dilated(
            x, kernel, (stride,) * 2, padding, None, (dilation,) * 2, ("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )
        return out(y, math.prod(kernel.shape[:3]))

    def norm(x, weights):
        mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        count = math.prod(x.shape[:3])
        kept.variances.append((variance * count / (count - 1)).mean())
        scale, shift = (weights[name].reshape(1, 1, 1, -1) for name in ("scale", "bias"))
        kept.normalised.append((x - mean) / jnp.sqrt(variance + 1e-5) * scale + shift)
        return kept.normalised[-1]

    def halve(x, weights):
        x = relu(x)
        halves = conv(x, weights["even"]["kernel"], 2), conv(x[:, 1:, 1:], weights["odd"]["kernel"], 2)
        return norm(jnp.concatenate(halves, -1), weights["norm"])

    def window(x, start, combine, stride):
        return lax.reduce_window(x, start, combine, (1, 3, 3, 1), (1, stride, stride, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))

    def operate(name, x, weights, stride):
        if name == "max_pool_3x3":
            return window(x, -jnp.inf, lax.max, stride)
        if name == "avg_pool_3x3":
            return window(x, 0.0, lax.add, stride) / window(jnp.ones_like(x), 0.0, lax.add, stride)
        if name == "skip_connect":
            return x if stride == 1 else halve(x, weights["first"])
        for place in ("first", "second") if name.startswith("sep") else ("first",):
            own = weights[place]
            step = stride if place == "first" else 1
            y = conv(relu(x), own["depthwise"]["kernel"], step, 2 if name.startswith("dil") else 1)
            x = norm(conv(y, own["pointwise"]["kernel"]), own["norm"])
        return x

    def ended(y):
        kept.blocks.append(y)
        return y + bumps[len(kept.blocks) - 1] if bumps else y

    y = ended(norm(conv(x, params["stem"]["first"]["kernel"]), params["stem"]["first"]["norm"]))
    before_last = last = y
    for run in network.runs():
        for at in range(run.length):
            weights = jax.tree.map(lambda leaf, at=at: leaf[at], params["cells"][run.name])
            front, second = weights["preprocess0"], weights["preprocess1"]
            nodes = [halve(before_last, front) if run.plan.halved else norm(conv(relu(before_last), front["kernel"]), front["norm"])]
            nodes.append(norm(conv(relu(last), second["kernel"]), second["norm"]))
            pairs = genotype.reduce if run.plan.reduction else genotype.normal
            for node in range(2, 6):
                total = 0
                for name, source in pairs[2 * (node - 2) : 2 * (node - 1)]:
                    stride = 2 if run.plan.reduction and source < 2 else 1
                    total = total + operate(name, nodes[source], weights.get(f"edge_{node}_{source}_{name}"), stride)
                nodes.append(total)
            before_last, last = last, ended(jnp.concatenate(nodes[2:], -1))
    logits = out(last.mean((1, 2)) @ params["classifier"] + params["classifier_bias"].reshape(1, -1), len(params["classifier"]))
    return logits, kept
