"""The operations of the DARTS space against PyTorch's modules, values and gradients, and against themselves in other forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from tolerances import FLOAT64, assert_close

from jknas.networks.darts.depthwise import _grouped, depthwise
from jknas.networks.darts.operations import BLOCKS, operate, plain_layer
from jknas.networks.darts.pooling import average_pool_3x3, max_pool_3x3
from jknas.networks.layers.conv_norm import NormWeights

CONVOLUTIONS = [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (3, 1, 2), (3, 2, 2), (5, 1, 2), (5, 2, 2)]


def randoms(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def value_and_pulled(function, cotangent_seed, *arguments):
    value, pull = jax.vjp(function, *arguments)
    (cotangent,) = randoms(cotangent_seed, value.shape)
    return value, pull(jnp.asarray(cotangent, value.dtype))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("channels", [2, 6], ids=["bands", "shifts"])
@pytest.mark.parametrize(("size", "stride", "dilation"), CONVOLUTIONS)
def test_depthwise_convolution_and_its_gradients_are_those_of_the_grouped_one(size, stride, dilation, channels):
    x, kernel = (jnp.asarray(a) for a in randoms(0, (2, 7, 6, channels), (size, size, 1, channels)))

    @quick_jit
    def both(x, kernel):
        forms = (depthwise, _grouped)
        return [value_and_pulled(lambda x, kernel, form=form: form(x, kernel, stride, dilation), 1, x, kernel) for form in forms]

    ours, plain = both(x, kernel)
    assert_close(ours, plain, FLOAT64.layer)


def test_second_derivatives_of_the_depthwise_convolution_are_those_of_the_grouped_one(float64):
    def squared_gradient(form, x, kernel):
        gradients = jax.grad(lambda x, kernel: jnp.sum(jnp.sin(form(x, kernel, 2, 1))), (0, 1))(x, kernel)
        return sum(jnp.vdot(g, g) for g in gradients)

    x, kernel = (jnp.asarray(a) for a in randoms(0, (2, 5, 6, 5), (3, 3, 1, 5)))
    compute = quick_jit(
        lambda x, kernel: [jax.grad(functools.partial(squared_gradient, f), (0, 1))(x, kernel) for f in (depthwise, _grouped)]
    )
    ours, plain = compute(x, kernel)
    assert_close(ours, plain, FLOAT64.layer)


def to_torch(torch, array):
    """Channels last to channels first, kernels to out, in, height, width."""
    return torch.tensor(np.asarray(array), requires_grad=True)


def images_to_torch(torch, x):
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)


def kernel_to_torch(torch, kernel):
    return torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1).copy(), requires_grad=True)


def operation_weights(name, channels, stride, seed=0):
    """Random weights as plain dictionaries; ``norm`` is (scale, shift)."""
    if name == "skip_connect" and stride == 2:
        even, odd, scale, shift = randoms(
            seed, (1, 1, channels, channels // 2), (1, 1, channels, channels - channels // 2), channels, channels
        )
        return {"first": {"even": {"kernel": even}, "odd": {"kernel": odd}, "norm": (scale, shift)}}
    found = {}
    for at, (place, block) in enumerate(zip(("first", "second"), BLOCKS.get(name, ()), strict=False)):
        shapes = ((block.size, block.size, 1, channels), (1, 1, channels, channels), channels, channels)
        kernel, point, scale, shift = randoms(seed + at, *shapes)
        found[place] = {"depthwise": {"kernel": kernel}, "pointwise": {"kernel": point}, "norm": (scale, shift)}
    return found


def as_ours(weights):
    if isinstance(weights, tuple):
        scale, shift = (jnp.asarray(a) for a in weights)
        return NormWeights(scale, shift, jnp.zeros_like(scale), jnp.ones_like(scale))
    return {key: as_ours(value) for key, value in weights.items()} if isinstance(weights, dict) else jnp.asarray(weights)


def in_torch(torch, name, x, weights, stride):
    """Run the released definition; return the value and the tensors that it reads, in the order of ``weights``."""
    functional, leaves = torch.nn.functional, []

    def tensor(value):
        leaves.append(value)
        return value

    def norm(y, pair):
        scale, shift = (tensor(to_torch(torch, a)) for a in pair)
        return functional.batch_norm(y, None, None, scale, shift, training=True)

    if name == "max_pool_3x3":
        return functional.max_pool2d(x, 3, stride, 1), leaves
    if name == "avg_pool_3x3":
        return functional.avg_pool2d(x, 3, stride, 1, count_include_pad=False), leaves
    if name == "skip_connect":
        if stride == 1:
            return x, leaves
        part = weights["first"]
        even, odd = (tensor(kernel_to_torch(torch, part[key]["kernel"])) for key in ("even", "odd"))
        y = functional.relu(x)
        padded = functional.pad(y, (0, 1, 0, 1))[:, :, 1:, 1:]
        halves = [functional.conv2d(y, even, stride=2), functional.conv2d(padded, odd, stride=2)]
        return norm(torch.cat(halves, 1), part["norm"]), leaves
    channels = x.shape[1]
    for place, block in zip(("first", "second"), BLOCKS[name], strict=False):
        part, step = weights[place], stride if place == "first" else 1
        depth, point = (tensor(kernel_to_torch(torch, part[key]["kernel"])) for key in ("depthwise", "pointwise"))
        padding = block.dilation * (block.size - 1) // 2
        x = functional.conv2d(functional.relu(x), depth, None, step, padding, block.dilation, channels)
        x = norm(functional.conv2d(x, point), part["norm"])
    return x, leaves


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("extents", [(8, 6), (7, 5)], ids=["even", "odd"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3", "skip_connect", *BLOCKS])
def test_operations_and_their_gradients_are_those_of_pytorch(name, stride, extents):
    torch = pytest.importorskip("torch", reason="the operations are compared with PyTorch's; install the extra torch")
    channels = 5
    x = randoms(3, (3, *extents, channels))[0]
    weights = operation_weights(name, channels, stride)

    def ours(x, weights):
        return operate(name, x, weights, plain_layer("batch"), stride=stride).value

    value, (dx, dweights) = quick_jit(lambda x, w: value_and_pulled(ours, 9, x, w))(jnp.asarray(x), as_ours(weights))
    images = images_to_torch(torch, x)
    expected, leaves = in_torch(torch, name, images, weights, stride)
    cotangent = torch.tensor(randoms(9, value.shape)[0].transpose(0, 3, 1, 2).copy())
    gradients = torch.autograd.grad(expected, [images, *leaves], cotangent)
    back = [g.numpy() for g in gradients]
    assert_close(value, expected.detach().numpy().transpose(0, 2, 3, 1), 1e-10)
    assert_close(dx, back[0].transpose(0, 2, 3, 1), 1e-10)
    listed = []
    for part in dweights.values():
        listed += [part[key]["kernel"] for key in ("even", "odd", "depthwise", "pointwise") if key in part]
        listed += [part["norm"].scale, part["norm"].shift]
    assert len(listed) == len(leaves)
    for found, wanted in zip(listed, back[1:], strict=True):
        assert_close(found, wanted.transpose(2, 3, 1, 0) if wanted.ndim == 4 else wanted, 1e-9)


def test_the_maximum_sends_its_gradient_to_the_first_of_equals():
    slope = jax.grad(lambda x: max_pool_3x3(x, stride=2)[0, 0, 0, 0])(jnp.zeros((1, 4, 4, 1)))
    expected = np.zeros((4, 4))
    expected[0, 0] = 1  # the padding is smaller
    np.testing.assert_array_equal(slope[0, :, :, 0], expected)


def test_pooling_does_not_count_the_padding_and_lets_no_number_pass_unseen():
    x = jnp.ones((1, 5, 4, 5)).at[0, 4, 3, 0].set(jnp.nan)
    for pool in (average_pool_3x3, max_pool_3x3):
        pooled = np.asarray(pool(x, stride=2))[0, :, :, 0]
        assert pooled.shape == (3, 2)
        np.testing.assert_allclose(pooled, [[1, 1], [1, 1], [1, np.nan]], rtol=1e-6)
