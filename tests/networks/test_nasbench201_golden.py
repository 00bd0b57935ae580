"""The published network, 16 channels and 5 cells a stage, against values of the formula in :mod:`golden`.

Slips of padding, pooling, initialisation or layout barely move rank correlations; these values move at once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import golden_images, golden_labels, golden_variables

from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.torch_order import tensors
from jknas.spaces.nasbench201.index import genotype_at

NETWORK = CellNetwork()
CELLS = [284, pytest.param(11, marks=pytest.mark.slow), pytest.param(1462, marks=pytest.mark.slow)]
LOGITS = {
    11: (-0.012259, -0.016715, -0.040436, 0.060361),
    284: (0.010127, -0.019679, -0.089212, -0.061025),
    1462: (0.146189, -0.028366, -0.034187, -0.047540),
}
LAYERS = {11: 53, 284: 23, 1462: 98}
LOSS = {11: 2.36359471, 284: 2.26357873, 1462: 2.31464920}
GRADIENT_NORM = {11: 379.374011, 284: 45.3178999, 1462: 708.090440}
SQUARED_GRADIENT = {11: 7441.42189, 284: 191.484454, 1462: 17775.6588}
MEAN_GRAM = {11: 473.836255, 284: 9.25158604, 1462: 1137.68498}
SLIPS = {
    2.275706: "stride-2 convolutions padded like SAME",
    2.353594: "average pooling that counts the padding",
    2.347927: "running averages instead of the batch's",
    2.482091: "kernels filled along height, width, in, out",
}
"""Losses of cell 11 under known mistakes."""


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


@functools.partial(jax.jit, static_argnames=("genotype", "statistics"))
def loss_logits_gradient(params, x, y, *, genotype, statistics):
    def loss(params):
        logits = NETWORK.apply(params, x, genotype, statistics=statistics)
        return cross_entropy(logits, y), logits

    (value, logits), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, logits, gradient


def weight_gradients(genotype, gradient):
    """Gradients of convolutions and classifier, one tensor a PyTorch tensor."""
    listed = [tensor for tensor in tensors(NETWORK, genotype) if tensor.collection == "params"]
    arrays = [np.asarray(tensor.read({"params": gradient})) for tensor in listed]
    return [array for array in arrays if array.ndim > 1]


def diagnosis(loss):
    return next((f"the loss of {slip}" for value, slip in SLIPS.items() if abs(loss - value) < 1e-5), "not a known slip")


def test_the_formula_is_the_documented_one(float64):
    genotype = genotype_at(11)
    variables, listed = golden_variables(NETWORK, genotype), tensors(NETWORK, genotype)
    first, second = (tensor.read_torch(variables).ravel() for tensor in (listed[0], listed[5]))  # a normalisation lies between
    np.testing.assert_allclose(first[:3], (0.2290194, 0.2027738, -0.1214141), atol=6e-8)
    np.testing.assert_allclose(second[0], 0.1168688, atol=6e-8)
    pixels = golden_images(8, 32)[0, 0, :4, 0]
    np.testing.assert_allclose(pixels, (0, 0.3616248, 0.6743174, 0.8957387), atol=6e-8)


def test_the_formula_needs_float64():
    with pytest.raises(RuntimeError, match="the golden numbers are float64"):
        golden_variables(NETWORK, genotype_at(284))


@pytest.mark.slow
@pytest.mark.parametrize("index", CELLS)
def test_a_training_batch_has_the_documented_loss_and_gradient(float64, index):
    genotype = genotype_at(index)
    params = golden_variables(NETWORK, genotype)["params"]
    loss, logits, gradient = loss_logits_gradient(params, golden_images(8, 32), golden_labels(8), genotype=genotype, statistics="batch")
    np.testing.assert_allclose(logits[0, :4], LOGITS[index], atol=6e-7)  # printed with six decimals
    assert float(loss) == pytest.approx(LOSS[index], rel=1e-6), diagnosis(float(loss))
    weights = weight_gradients(genotype, gradient)
    assert len(weights) == LAYERS[index]
    assert sum(np.linalg.norm(weight) for weight in weights) == pytest.approx(GRADIENT_NORM[index], rel=1e-6)
    assert sum(np.vdot(weight, weight) for weight in weights) == pytest.approx(SQUARED_GRADIENT[index], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("index", CELLS)
def test_fifty_examples_have_the_documented_mean_gram_entry(float64, index):
    """Eq. (15) of KNAS over every parameter, each example normalised by itself."""
    genotype = genotype_at(index)
    params = golden_variables(NETWORK, genotype)["params"]
    _, _, gradient = loss_logits_gradient(params, golden_images(50, 32), golden_labels(50), genotype=genotype, statistics="example")
    total = sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(gradient))
    assert total == pytest.approx(MEAN_GRAM[index], rel=1e-6)


@pytest.mark.slow
def test_two_mistakes_made_on_purpose_have_their_documented_losses(float64):
    """Shows that the values above tell these mistakes apart, and that evaluation mode is right as well."""
    genotype, x, y = genotype_at(11), golden_images(8, 32), golden_labels(8)
    shuffled = golden_variables(NETWORK, genotype, layout="HWIO")["params"]
    loss, _, _ = loss_logits_gradient(shuffled, x, y, genotype=genotype, statistics="batch")
    assert diagnosis(float(loss)) == "the loss of kernels filled along height, width, in, out"
    variables = golden_variables(NETWORK, genotype)
    evaluate = jax.jit(lambda v: NETWORK.apply(v["params"], x, genotype, statistics="running", batch_stats=v["batch_stats"]))
    assert diagnosis(float(cross_entropy(evaluate(variables), y))) == "the loss of running averages instead of the batch's"
