"""Small models of every sort for the kernels' tests: names, functions of a batch, parameters and inputs.

A model is declared by a function that draws its arrays in the float type in force and returns ``(apply, params, x)``. The declaration
says which forms the one-pass kernel is expected to handle its parameters by, so that a cheap form that silently stopped to apply, or one
that applies where it must not, is noticed.
"""

import collections
import functools
from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

N = 5
MODELS = {}


@dataclass(frozen=True)
class Model:
    """``build(draw)`` returns ``(apply, params, x)``; ``forms`` counts the expected contractions."""

    name: str
    build: Callable
    forms: collections.Counter

    def made(self, seed=0):
        return self.build(Draw(seed))


class Draw:
    """Random arrays, scaled so that signals keep their size."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def __call__(self, *shape, gain=None):
        gain = 1 / np.sqrt(max(1, np.prod(shape[:-1]))) if gain is None else gain
        return jnp.asarray(gain * self._rng.standard_normal(shape), float)

    def data(self, *shape):
        return self(N, *shape, gain=1.0)

    def tokens(self, vocabulary, *shape, low=0):
        return jnp.asarray(self._rng.integers(low, vocabulary, (N, *shape)), jnp.int32)

    def like(self, shapes):
        """Draw every leaf of a pytree of shapes: biases and scales are random too, where initialisers make them zeros and ones."""
        return jax.tree.map(lambda leaf: self(*leaf.shape) + 0.3 if leaf.ndim < 2 else self(*leaf.shape), shapes)


def model(**forms):
    def register(build):
        MODELS[build.__name__] = Model(build.__name__, build, collections.Counter(forms))
        return build

    return register


def promoting(apply):
    """Flax's normalisations rely on JAX promoting dtypes in 64-bit mode."""

    def run(p, x):
        with jax.numpy_dtype_promotion("standard"):
            return apply(p, x)

    return run


def linen(module, draw, x):
    shapes = jax.eval_shape(promoting(module.init), jax.random.key(0), x)
    return promoting(module.apply), draw.like(shapes), x


NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, kernel, strides=(1, 1), padding="SAME", numbers=NHWC, **options):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, **options)


def per_example_norm(x, scale):
    axes = tuple(range(1, x.ndim - 1))
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 0.01) * lax.broadcast_to_rank(scale, x.ndim)


# Layers and whole networks


@model(pairwise=2, leaf=2)
def mlp(draw):
    params = {"w1": draw(5, 7), "b1": draw(7), "w2": draw(7, 3), "b2": draw(3)}
    return lambda p, x: jnp.tanh(x @ p["w1"] + p["b1"][None]) @ p["w2"] + p["b2"][None], params, draw.data(5)


@model(direct=2, pairwise=1, leaf=7)
def group_norm_cnn(draw):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            kinds = {"dtype": x.dtype, "param_dtype": x.dtype}
            x = nn.Conv(4, (3, 3), **kinds)(x)
            x = nn.relu(nn.GroupNorm(num_groups=2, **kinds)(x))
            x = nn.Conv(6, (3, 3), strides=2, **kinds)(x)
            x = nn.gelu(nn.GroupNorm(num_groups=3, **kinds)(x))
            return nn.Dense(3, **kinds)(x.mean((1, 2)))

    return linen(Network(), draw, draw.data(6, 6, 3))


@model(direct=3, pairwise=1, leaf=3)
def residual(draw):
    params = {"stem": draw(3, 3, 3, 4), "a": draw(3, 3, 4, 4), "b": draw(3, 3, 4, 4), "s": draw(4), "t": draw(4), "head": draw(4, 3)}
    params["b_head"] = draw(3)

    def apply(p, x):
        x = conv(x, p["stem"])
        y = jax.nn.relu(per_example_norm(x, p["s"]))
        x = x + conv(jax.nn.relu(per_example_norm(conv(y, p["a"]), p["t"])), p["b"])
        return x.mean((1, 2)) @ p["head"] + p["b_head"][None]

    return apply, params, draw.data(6, 6, 3)


@model(direct=3, pairwise=1, leaf=1)
def depthwise_separable(draw):
    params = {
        "deep": draw(3, 3, 1, 4, gain=0.3),
        "point": draw(1, 1, 4, 6),
        "deep2": draw(3, 3, 1, 12, gain=0.3),
        "s": draw(12),
        "head": draw(12, 2),
    }

    def apply(p, x):
        x = conv(jax.nn.silu(conv(x, p["deep"], feature_group_count=4)), p["point"])
        x = conv(x, p["deep2"], strides=(2, 2), feature_group_count=6)  # two outputs from every channel
        return jax.nn.relu(per_example_norm(x, p["s"])).mean((1, 2)) @ p["head"]

    return apply, params, draw.data(6, 6, 4)


@model(direct=6)
def convolutions(draw):
    params = {
        "dilated": draw(3, 3, 3, 4),
        "strided": draw(3, 2, 4, 6),
        "grouped": draw(2, 3, 3, 4),
        "transposed": draw(3, 3, 4, 3),
        "cropped": draw(3, 3, 3, 4),
        "last": draw(2, 2, 4, 2),
    }

    def apply(p, x):
        x = jnp.tanh(conv(x, p["dilated"], rhs_dilation=(2, 1)))
        x = jnp.tanh(conv(x, p["strided"], strides=(2, 1), padding=((0, 1), (2, 0))))
        x = jnp.tanh(conv(x, p["grouped"], feature_group_count=2))
        x = jnp.tanh(conv(x, p["transposed"], padding=((2, 1), (1, 2)), lhs_dilation=(2, 3)))
        x = jnp.tanh(conv(x, p["cropped"], padding=((-1, 1), (0, -1))))
        return conv(x, p["last"], padding="VALID").sum((1, 2))

    return apply, params, draw.data(7, 6, 3)


@model(direct=3, pairwise=1)
def other_layouts(draw):
    params = {"first": draw(4, 3, 3, 2), "back": draw(3, 3, 4, 5), "line": draw(3, 5, 4), "head": draw(4, 2)}

    def apply(p, x):  # channels first; then a kernel with in and out exchanged; then one axis
        x = jnp.tanh(conv(x, p["first"], numbers=("NCHW", "OIHW", "NCHW"), strides=(1, 2)))
        x = jnp.tanh(conv(x, p["back"], numbers=("NCHW", "HWIO", "NHWC"), strides=(2, 1)))
        x = jnp.tanh(conv(x.sum(1), p["line"], strides=(1,), numbers=("NWC", "WIO", "NCW"), rhs_dilation=(2,)))
        return x.mean(2) @ p["head"]

    return apply, params | {"first": draw(4, 3, 3, 2)}, draw.data(3, 6, 5)


@model(direct=1)
def convolution_of_folded_time(draw):
    def apply(p, x):  # the convolution's own batch axis holds one example's frames
        n, t, *rest = x.shape
        return jnp.tanh(conv(x.reshape(n * t, *rest), p, padding="VALID")).reshape(n, t, -1).sum(1)

    return apply, draw(3, 3, 2, 3), draw.data(4, 4, 4, 2)


@model(direct=5, pairwise=1, leaf=5)
def scanned_vit(draw):
    layers, width, heads = 2, 8, 2
    stack = {
        "qkv": draw(layers, width, 3, heads, width // heads, gain=0.3),
        "out": draw(layers, heads, width // heads, width, gain=0.3),
        "up": draw(layers, width, 12, gain=0.3),
        "down": draw(layers, 12, width, gain=0.3),
        "norm": draw(layers, width, gain=1.0),
        "b": draw(layers, 12, gain=0.3),
        "norm2": draw(layers, width, gain=1.0),
    }
    params = {"stack": stack, "patch": draw(12, width), "where": draw(4, width), "class": draw(width), "head": draw(width, 3)}

    def layer(x, p):
        y = (x - x.mean(-1, keepdims=True)) * p["norm"][None, None]
        q, k, v = jnp.moveaxis(jnp.einsum("ntc,csgd->ntsgd", y, p["qkv"]), 2, 0)
        weights = jax.nn.softmax(jnp.einsum("ntgd,nsgd->ngts", q, k))
        x = x + jnp.einsum("ngts,nsgd,gdc->ntc", weights, v, p["out"])
        y = x * lax.rsqrt((x**2).mean(-1, keepdims=True)) * p["norm2"][None, None]
        return x + jax.nn.gelu(y @ p["up"] + p["b"][None, None]) @ p["down"], None

    def apply(p, x):
        n = x.shape[0]
        patches = x.reshape(n, 2, 2, 2, 2, 3).swapaxes(2, 3).reshape(n, 4, 12)
        x = patches @ p["patch"] + p["where"][None]
        x, _ = lax.scan(layer, jnp.concatenate([jnp.broadcast_to(p["class"], (n, 1, width)), x], 1), p["stack"])
        return x[:, 0] @ p["head"]

    return apply, params, draw.data(4, 4, 3)


# Embeddings


def table_model(look_up, **forms):
    def declare(name, low, high):
        def build(draw):
            params = {"table": draw(7, 4, gain=1.0), "head": draw(4, 3)}
            return lambda p, x: jnp.tanh(look_up(p["table"], x)).sum(1) @ p["head"], params, draw.tokens(high, 6, low=low)

        build.__name__ = name
        return model(pairwise=1, **forms)(build)

    return declare


def guaranteed(table, x):
    return table.at[x].get(mode="promise_in_bounds")


table_model(lambda t, x: jnp.take(t, x, axis=0), lookup=1)("embedding_take", -7, 7)
table_model(lambda t, x: t[x], lookup=1)("embedding_indexed", -9, 9)
table_model(lambda t, x: jnp.take(t, x, axis=0, mode="clip"), lookup=1)("embedding_clipped", -9, 12)
table_model(lambda t, x: jnp.take(t, x, axis=0, mode="fill", fill_value=0), lookup=1)("embedding_filled", -9, 12)
table_model(lambda t, x: jnp.take(t, x, axis=0, mode="wrap"), lookup=1)("embedding_wrapped", -30, 30)
table_model(lambda t, x: t.at[x].get(mode="drop", fill_value=1), lookup=1)("embedding_dropped", -9, 12)
table_model(guaranteed, lookup=1)("embedding_guaranteed", 0, 7)
table_model(lambda t, x: t.at[x.astype(jnp.uint8)].get(mode="drop", fill_value=1), lookup=1)("embedding_bytes", 0, 12)
table_model(lambda t, x: jnp.take(t.T, x, axis=1).transpose(1, 2, 0), leaf=1)("embedding_across", 0, 7)
table_model(lambda t, x: t[x, 1:3][:, :, [0, 1, 0, 1]], leaf=1)("embedding_part", 0, 7)
table_model(lambda t, x: jax.vmap(jax.vmap(lambda i: lax.dynamic_index_in_dim(t, i, keepdims=False)))(x), leaf=1)("embedding_vmapped", 0, 7)
table_model(lambda t, x: jax.nn.one_hot(x, 7, dtype=t.dtype) @ (2 * t), direct=1)("embedding_one_hot", 0, 7)


@model(lookup=1, direct=1, leaf=1, pairwise=1)
def text_encoder(draw):
    params = {"table": draw(11, 6, gain=1.0), "where": draw(5, 6, gain=0.3), "mix": draw(2, 6, 6), "head": draw(6, 2)}

    def apply(p, x):
        x = jnp.take(p["table"], x, axis=0) + p["where"][None]

        def body(x, w):
            return jax.checkpoint(lambda x, w: x + jax.nn.softmax(x @ x.swapaxes(1, 2)) @ jnp.tanh(x @ w))(x, w), None

        return lax.scan(body, x, p["mix"])[0].mean(1) @ p["head"]

    return apply, params, draw.tokens(11, 5)


# Parameters used more than once


@model(leaf=1, pairwise=1)
def tied_embedding(draw):
    params = {"table": draw(7, 4, gain=1.0), "w": draw(4, 4)}
    return lambda p, x: jnp.tanh(p["table"][x].mean(1) @ p["w"]) @ p["table"].T, params, draw.tokens(7, 6)


@model(leaf=1)
def weight_used_twice(draw):
    return lambda p, x: jnp.tanh(jnp.tanh(x @ p[0]) @ p[0].T), [draw(5, 4)], draw.data(5)


@model(leaf=1)
def looked_up_twice(draw):
    return lambda p, x: p[x[:, 0]] * p[x[:, 1]], draw(7, 4), draw.tokens(7, 2)


@model(direct=1, pairwise=1)
def slices_of_one_weight(draw):
    def apply(p, x):
        q, k, v = p["qkv"][:, :4], p["qkv"][:, 4:8], p["qkv"][:, 8:]
        return (jax.nn.softmax(jnp.einsum("ntc,nsc->nts", x @ q, x @ k)) @ (x @ v)).mean(1) @ p["head"]

    return apply, {"qkv": draw(6, 12), "head": draw(4, 2)}, draw.data(5, 6)


@model(direct=1, leaf=1, pairwise=1)
def stacked_layers(draw):
    def apply(p, x):
        for kernel, scale in zip(p["kernels"], p["scales"], strict=True):
            x = x + jnp.tanh(conv(x, kernel)) * scale[None, None, None]
        return x.mean((1, 2)) @ p["heads"][1]

    stacks = {"kernels": draw(3, 3, 3, 4, 4), "scales": draw(3, 4), "heads": draw(2, 4, 3)}
    return apply, stacks, draw.data(6, 6, 4)


@model(leaf=1)
def overlapping_slices(draw):
    def apply(p, x):
        return jnp.tanh(x @ p[:, :3]) @ p[:3, 2:]

    return apply, draw(5, 5), draw.data(5)


@model(leaf=1, pairwise=2)
def one_slice_twice(draw):
    def apply(p, x):
        x = jnp.tanh(x @ p["layers"][0])
        return jnp.tanh(jnp.tanh(x @ p["layers"][1]) @ p["layers"][1]) @ p["layers"][2, :, ::2] @ p["head"]

    return apply, {"layers": draw(3, 5, 5), "head": draw(3, 2)}, draw.data(5)


@model(leaf=1)
def one_convolution_twice(draw):
    def apply(p, x):
        return jnp.tanh(conv(jnp.tanh(conv(x, p)), p)).sum((1, 2))

    return apply, draw(3, 3, 4, 4), draw.data(6, 6, 4)


@model(leaf=1)
def split_weight(draw):
    def apply(p, x):
        a, b = jnp.split(p, 2, axis=1)
        return jax.nn.sigmoid(x @ a) * (x @ b)

    return apply, draw(5, 6), draw.data(5)


@model(pairwise=1)
def one_slice(draw):
    return lambda p, x: jnp.tanh(x @ p[:, 1:4]), draw(5, 6), draw.data(5)


@model(leaf=1)
def constant_of_a_scan(draw):
    def apply(p, x):
        return lax.scan(lambda x, _: (jnp.tanh(x @ p), x[:, 0]), x, None, length=3)[0]

    return apply, draw(5, 5), draw.data(5)


@model(leaf=2, direct=1)
def recurrent(draw):
    def apply(p, x):
        def cell(h, x):
            h = jnp.tanh(x @ p["in"] + h @ p["again"])
            return h, h

        h, every = lax.scan(cell, jnp.zeros((x.shape[0], 4), x.dtype), x.swapaxes(0, 1), reverse=True)
        return h + (every @ p["head"]).sum(0)

    return apply, {"in": draw(3, 4), "again": draw(4, 4), "head": draw(4, 4)}, draw.data(4, 3)


@model(leaf=1, pairwise=2)
def scanned_and_used_outside(draw):
    def apply(p, x):
        x, _ = lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, p["stack"])
        return jnp.sin(x @ p["last"]) @ p["head"] @ p["stack"][0]

    return apply, {"stack": draw(2, 4, 4), "last": draw(4, 4), "head": draw(4, 4)}, draw.data(4)


@model(leaf=2)
def carried_by_a_scan(draw):
    def apply(p, x):  # the parameters are part of the carry, and change
        def body(state, _):
            w, x = state
            return (0.9 * w, jnp.tanh(x @ w) + p[1][None]), None

        return lax.scan(body, (p[0], x), None, length=2)[0][1]

    return apply, (draw(4, 4), draw(4)), draw.data(4)


@model(leaf=1)
def returned_unchanged(draw):
    return lambda p, x: p[None] + 0 * x, draw(4), draw.data(4)


@model(leaf=1)
def only_parameter_is_the_output(draw):
    return lambda p, x: jnp.broadcast_to(p, (x.shape[0], 3)), draw(3), draw.data(4)


@model()
def parameter_without_use(draw):
    return lambda p, x: jnp.tanh(x), {"w": draw(4)}, draw.data(4)


# Arithmetic on parameters


@model(leaf=3)
def weight_normalisation(draw):
    def apply(p, x):
        return jnp.tanh(x @ (p["g"][None] * p["v"] / jnp.linalg.norm(p["v"], axis=0)[None]) + p["b"][None])

    return apply, {"g": draw(4), "v": draw(5, 4), "b": draw(4)}, draw.data(5)


@model(leaf=1, pairwise=1)
def weight_standardisation(draw):
    def apply(p, x):
        kernel = (p["k"] - p["k"].mean((0, 1, 2), keepdims=True)) / (p["k"].std((0, 1, 2), keepdims=True) + 0.01)
        return jnp.tanh(conv(x, kernel)).mean((1, 2)) @ p["head"]

    return apply, {"k": draw(3, 3, 2, 4), "head": draw(4, 2)}, draw.data(4, 4, 2)


@model(leaf=3)
def low_rank_update(draw):
    return lambda p, x: jnp.tanh(x @ (p["w"] + 0.5 * p["a"] @ p["b"])), {"w": draw(5, 4), "a": draw(5, 2), "b": draw(2, 4)}, draw.data(5)


@model(pairwise=2)
def low_rank_layers(draw):
    return lambda p, x: jnp.tanh(x @ p["a"] @ p["b"]), {"a": draw(5, 2), "b": draw(2, 4)}, draw.data(5)


@model(leaf=2)
def outer_product_of_parameters(draw):
    return lambda p, x: jnp.tanh(x @ (p["a"][:, None] * p["b"][None])), {"a": draw(5), "b": draw(4)}, draw.data(5)


@model(leaf=2)
def scalar_parameters(draw):
    return lambda p, x: jnp.exp(p["log"]) * jnp.tanh(x - p["shift"]), {"log": draw(), "shift": draw()}, draw.data(4)


@model(pairwise=3)
def ntk_parametrisation(draw):
    def apply(p, x):
        x = x @ (p["a"] / jnp.sqrt(jnp.asarray(5, x.dtype)))
        x, _ = lax.scan(lambda x, w: (jnp.tanh(x @ (0.5 * w)), None), x, 3.0 * p["stack"] / 2)
        return (-2 * (x @ p["b"].T.reshape(2, 4).T * 1.5)) @ jnp.ones((2, 3), x.dtype)

    return apply, {"a": draw(5, 4), "stack": draw(2, 4, 4), "b": draw(2, 4).T}, draw.data(5)


@model(leaf=1)
def divided_by_a_parameter(draw):
    return lambda p, x: jnp.tanh(x) / p[None] + 1 / p[None], draw(4) + 2, draw.data(4)


@model(leaf=1)
def scaled_by_the_input(draw):
    return lambda p, x: jnp.tanh(x @ (p * x[0, 0])), draw(4, 3), draw.data(4)


@model(leaf=1)
def scaled_by_a_parameter(draw):
    return lambda p, x: jnp.tanh(x @ (p * p[0, 0])), draw(4, 3), draw.data(4)


@model(leaf=2, pairwise=1)
def broadcast_parameter(draw):
    def apply(p, x):
        return jnp.tanh(x @ jnp.broadcast_to(p["row"], (4, 3)) + jnp.broadcast_to(p["b"], (x.shape[0], 3))) @ p["w"]

    return apply, {"row": draw(1, 3), "b": draw(3), "w": draw(3, 3)}, draw.data(4)


@model(leaf=2)
def solved_for(draw):
    def apply(p, x):
        return jnp.linalg.solve(p["m"] + 3 * jnp.eye(4, dtype=x.dtype), x.T).T * jnp.linalg.slogdet(p["m"])[1] * p["s"]

    return apply, {"m": draw(4, 4), "s": draw()}, draw.data(4)


# Products of every orientation


@model(direct=2, pairwise=1)
def parameter_on_the_left(draw):
    def apply(p, x):
        x = jnp.einsum("st,ntc->nsc", p["mix"], x)
        x = jnp.einsum("cd,ndt->nct", p["w"], jnp.tanh(x).swapaxes(1, 2))
        return jnp.einsum("kct,nct->nk", p["head"], jnp.tanh(x))

    return apply, {"mix": draw(5, 4), "w": draw(3, 6), "head": draw(2, 3, 5)}, draw.data(4, 6)


@model(direct=2, pairwise=1)
def batched_parameters(draw):
    def apply(p, x):  # one matrix for each head, as in a mixture of experts
        x = jnp.tanh(jnp.einsum("nthd,hdf->nthf", x, p["in"]))
        x = jnp.tanh(jnp.einsum("hfg,nthf->nhtg", p["mid"], x))
        return jnp.einsum("nhg,hgk->nk", x.mean(2), p["out"])

    return apply, {"in": draw(2, 3, 4), "mid": draw(2, 4, 4), "out": draw(2, 4, 3)}, draw.data(6, 2, 3)


@model(direct=1)
def outer_with_data(draw):
    return lambda p, x: jnp.einsum("c,nk->nkc", p, x).reshape(x.shape[0], -1) ** 2, draw(3), draw.data(2)


@model(direct=1, leaf=1)
def vmapped_inside(draw):
    def token(p, x):
        return jnp.tanh(p["w"] @ x + p["b"])

    return lambda p, x: jax.vmap(jax.vmap(token, (None, 0)), (None, 0))(p, x).sum(1), {"w": draw(3, 4), "b": draw(3)}, draw.data(2, 4)


@model(direct=1)
def vector_output(draw):
    return lambda p, x: jnp.tanh(x @ p), draw(4), draw.data(4)


# Control flow


@model(leaf=2, pairwise=2)
def used_in_both_branches(draw):
    def apply(p, x):
        x = lax.cond(p["flag"] > 0, lambda x: jnp.tanh(x @ p["w"]), lambda x: jnp.sin(x @ p["w"] @ p["w"]), x)
        return x @ p["u"] + p["b"][None]

    return apply, {"flag": jnp.asarray(1), "w": draw(4, 4), "u": draw(4, 2), "b": draw(2)}, draw.data(4)


@model(leaf=3, pairwise=1)
def branch_chosen_by_the_example(draw):
    def apply(p, x):
        branches = [lambda x: x @ p["a"], lambda x: jnp.tanh(x @ p["b"]) + p["c"][None], lambda x: 2 * x]
        return lax.switch(jnp.sum(x[0] > 0) % 3, branches, x) @ p["head"]

    return apply, {"a": draw(4, 4), "b": draw(4, 4), "c": draw(4), "head": draw(4, 2)}, draw.data(4)


@model(leaf=1, pairwise=1)
def branch_chosen_inside_a_scan(draw):
    def apply(p, x):
        def body(x, layer):
            w, i = layer
            return lax.switch(i, [lambda x, w: jnp.tanh(x @ w), lambda x, w: x + jnp.sin(x @ w @ w), lambda x, w: x], x, w), None

        return lax.scan(body, x, (p["stack"], jnp.array([1, 0, 2, 0])))[0]

    return apply, {"stack": draw(4, 4, 4)}, draw.data(4)


@model(leaf=1)
def branch_chosen_by_the_carry(draw):
    def apply(p, x):
        def body(x, w):
            return lax.cond(x.sum() > 0, lambda x, w: jnp.tanh(x @ w), lambda x, w: x - jnp.sin(x @ w), x, w), None

        return lax.scan(body, x, p)[0]

    return apply, draw(3, 4, 4), draw.data(4)


@model(pairwise=1)
def loops_over_data(draw):
    def apply(p, x):
        norm = lax.while_loop(lambda v: jnp.any(jnp.abs(v) > 1), lambda v: v / 2, lax.stop_gradient(x))
        return jnp.tanh(lax.fori_loop(0, 3, lambda i, x: jnp.sin(x) + i.astype(x.dtype), x + norm) @ p)

    return apply, draw(4, 3), draw.data(4)


@model(pairwise=1)
def nested_scans(draw):
    def apply(p, x):
        def outer(x, stack):
            return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0], x.sum()

        x, sums = lax.scan(outer, x, p, unroll=2)
        return x + sums[-1]

    return apply, draw(2, 2, 4, 4), draw.data(4)


@model(pairwise=2)
def scan_with_literals(draw):
    def apply(p, x):
        total, count = 0.0, 0

        def body(state, w):
            total, x, count = state
            x = jnp.sin(x @ w)
            return (total + x.sum(), x, count + 1), count

        (total, x, count), counts = lax.scan(body, (jnp.zeros((), x.dtype) + total, x, count), p["stack"])
        return x @ p["head"] + total * (counts[-1] + count).astype(x.dtype)

    return apply, {"stack": draw(3, 4, 4), "head": draw(4, 2)}, draw.data(4)


@model(pairwise=1, leaf=2)
def nested_jit(draw):
    @jax.jit
    def inner(w, b, x):
        return jax.jit(jnp.tanh)(x @ w.T) + b[None], w

    @jax.jit
    def outer(p, x):
        y, w = inner(p["w"], p["b"], x)
        return y @ w @ p["u"]

    return jax.jit(outer), {"w": draw(3, 4), "b": draw(3), "u": draw(4, 2)}, draw.data(4)


def checkpointed(policy):
    def build(draw):
        @functools.partial(jax.checkpoint, policy=policy)
        def block(p, x):
            return x + jnp.tanh(x @ p["w"] + p["b"][None])

        def apply(p, x):
            x = block(p["a"], x)
            return jax.checkpoint(lambda x, w: jnp.sin(x) @ w)(block(p["c"], x), p["head"])

        params = {"a": {"w": draw(4, 4), "b": draw(4)}, "c": {"w": draw(4, 4), "b": draw(4)}, "head": draw(4, 2)}
        return apply, params, draw.data(4)

    return build


for _name, _policy in {"checkpoint": None, "checkpoint_policy": jax.checkpoint_policies.dots_saveable}.items():
    _build = checkpointed(_policy)
    _build.__name__ = _name
    model(pairwise=3, leaf=2)(_build)


# Rules of the user's own: the kernel follows them, not the function


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, d: (d,))


@jax.custom_jvp
def bent(x):
    return jnp.abs(x)


bent.defjvp(lambda primals, tangents: (jnp.abs(primals[0]), 3 * tangents[0]))


@jax.custom_vjp
def own_dense(w, b, x):
    return x @ w + b[None]


def _own_dense_bwd(saved, d):
    w, x = saved
    return 5 * x.T @ d, 7 * d.sum(0), 0.25 * d @ w.T


own_dense.defvjp(lambda w, b, x: (x @ w + b[None], (w, x)), _own_dense_bwd)


@model(pairwise=2)
def own_activations(draw):
    return lambda p, x: bent(straight_through(3 * x @ p["w"]) @ p["u"]), {"w": draw(4, 4), "u": draw(4, 3)}, draw.data(4)


@model(leaf=2, pairwise=2)
def own_layer(draw):
    params = {"first": draw(4, 4), "w": draw(4, 3), "b": draw(3), "last": draw(3, 2)}
    return lambda p, x: jnp.tanh(own_dense(p["w"], p["b"], x @ p["first"])) @ p["last"], params, draw.data(4)


@model(leaf=1, pairwise=1)
def quantised_weight(draw):
    return lambda p, x: jnp.tanh(x @ straight_through(2 * p["w"])) @ p["u"], {"w": draw(4, 4, gain=1.0), "u": draw(4, 3)}, draw.data(4)


@model(leaf=1, pairwise=1)
def own_rule_in_a_scan(draw):
    def apply(p, x):
        zero = jnp.zeros(4, x.dtype)
        return lax.scan(lambda x, w: (jax.checkpoint(own_dense)(w, zero, jnp.sin(x)), None), x, p["stack"])[0] @ p["head"]

    return apply, {"stack": draw(2, 4, 4), "head": draw(4, 3)}, draw.data(4)


@model(leaf=1, pairwise=1)
def stopped_parameter(draw):
    params = {"w": draw(4, 4), "stopped": draw(4, 3)}
    return lambda p, x: jnp.tanh(x @ p["w"]) @ lax.stop_gradient(p["stopped"]), params, draw.data(4)


@model(leaf=2)
def stopped_once(draw):
    params = {"w": draw(4, 4), "u": draw(4, 4)}
    return lambda p, x: jnp.tanh(x @ p["w"]) @ lax.stop_gradient(p["w"]) @ p["u"] @ p["u"], params, draw.data(4)


# Structure of parameters and inputs


@model(pairwise=2, leaf=1)
def mixed_tree(draw):
    params = {
        "layers": [(draw(4, 4), None), (draw(4, 3), draw(3))],
        "steps": jnp.arange(3),
        "key": jax.random.key(3),
        "mask": jnp.array([True, False, True, True]),
    }

    def apply(p, x):
        (w, _), (u, b) = p["layers"]
        x = x["image"].reshape(x["image"].shape[0], -1) + x["where"].astype(w.dtype)
        keep = jax.random.bernoulli(p["key"], 0.7, x.shape[1:]) & p["mask"]  # dropout by a fixed key
        return jnp.where(keep[None], jnp.tanh(x @ w), 0) @ u + b[None] * p["steps"][1].astype(b.dtype)

    return apply, params, {"image": draw.data(2, 2), "where": draw.tokens(4, 1)}


@model(pairwise=1)
def keys_in_the_input(draw):
    def apply(p, x):
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,), p.dtype))(x["key"])
        return jnp.tanh(x["x"] @ p) + noise**2

    return apply, draw(4, 3), {"x": draw.data(4), "key": jax.random.split(jax.random.key(1), N)}


@model(leaf=2, pairwise=1)
def python_numbers(draw):
    def apply(p, x):
        return jnp.tanh(p["gain"] * x @ p["w"]) + p["shift"]

    return apply, {"gain": 1.5, "w": draw(4, 3), "shift": 0.5}, draw.data(4)


@model(pairwise=1, direct=1, leaf=3)
def nnx_model(draw):
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            options = {"param_dtype": jnp.result_type(float), "rngs": rngs}
            self.conv = nnx.Conv(2, 4, (3, 3), **options)
            self.norm = nnx.LayerNorm(4, use_bias=False, **options)
            self.head = nnx.Linear(4, 3, **options)

        def __call__(self, x):
            return self.head(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))

    definition, params = nnx.split(Network(nnx.Rngs(0)))
    return promoting(lambda p, x: nnx.merge(definition, p)(x)), draw.like(params), draw.data(5, 5, 2)


@model(pairwise=2, direct=1, leaf=5)
def equinox_model(draw):
    import equinox as eqx

    class Network(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.GroupNorm
        mlp: eqx.nn.MLP

        def __init__(self, key):
            self.conv = eqx.nn.Conv2d(2, 4, 3, key=key)
            self.norm = eqx.nn.GroupNorm(2, 4)
            self.mlp = eqx.nn.MLP(4, 3, 5, 1, key=key)

        def __call__(self, x):
            return self.mlp(jax.nn.gelu(self.norm(self.conv(x))).mean((1, 2)))

    params, rest = eqx.partition(Network(jax.random.key(0)), eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, rest))(x), draw.like(params), draw.data(2, 5, 5)
