"""The auxiliary classifier behind the second reduction, which only training runs.

    ReLU, 5x5 average pooling, 1x1 convolution to 128, BN, ReLU, 2x2 convolution to 768, BN, ReLU, linear classifier

The pooling has stride 3 for the CIFAR networks and 2 for the ImageNet ones, which have no second BN: the released code leaves it out.
"""

import jax

from jknas.errors import NetworkError
from jknas.networks.darts.operations import pointwise
from jknas.networks.darts.pooling import average_pool
from jknas.networks.layers.conv_norm import batch_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.parameters import Averages, Shapes, WeightTree, classified, classifier_shapes, conv_shapes, moved
from jknas.spaces.darts.cost import Stem

_POOL = 5
_STRIDES: dict[Stem, int] = {"cifar": 3, "imagenet": 2}


def auxiliary_shapes(stem: Stem, inputs: int, classes: int) -> Shapes:
    """Return the shapes of the head's arrays."""
    second = conv_shapes(2, 128, 768)
    if stem == "imagenet":
        del second["norm"]
    return {"first": conv_shapes(1, inputs, 128), "second": second, **classifier_shapes(768, classes)}


def check_extents(stem: Stem, height: int, width: int) -> None:
    """Raise ValueError unless images of this size behind the second reduction are pooled to 2x2 pixels."""
    if [(extent - _POOL) // _STRIDES[stem] + 1 for extent in (height, width)] != [2, 2]:
        typical = {"cifar": "8x8 for images of 32x32", "imagenet": "7x7 for images of 224x224"}[stem]
        raise NetworkError(
            f"the auxiliary head pools its input to 2x2 pixels ({typical}), but got {height}x{width}; "
            "resize the images (--resolution), or use auxiliary=False"
        )


def run_auxiliary(stem: Stem, weights: WeightTree, x: jax.Array) -> tuple[jax.Array, Averages]:
    """Compute the auxiliary logits ``[n, k]`` in training mode, and the moved running averages.

    Raises:
        ValueError: unless the pooled image has 2x2 pixels.
    """
    check_extents(stem, *x.shape[1:3])
    averages: Averages = {}
    y = pointwise(average_pool(jax.nn.relu(x), _POOL, _STRIDES[stem]), weights["first"]["kernel"])
    y, moments = batch_norm(y, weights["first"]["norm"], "batch")
    averages["first"] = {"norm": moved(weights["first"]["norm"], moments)}
    y = convolution(jax.nn.relu(y), weights["second"]["kernel"].astype(x.dtype))
    if "norm" in weights["second"]:
        y, moments = batch_norm(y, weights["second"]["norm"], "batch")
        averages["second"] = {"norm": moved(weights["second"]["norm"], moments)}
    return classified(weights, jax.nn.relu(y)[:, 0, 0]), averages
