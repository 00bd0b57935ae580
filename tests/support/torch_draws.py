"""PyTorch's default initialisation drawn by NumPy, number for number, so that a recorded network needs its seed in place of its weights.

PyTorch's CPU generator is the Mersenne Twister of :class:`numpy.random.RandomState`. A ``float32`` uniform draw takes the low 24 bits of
one 32-bit word ``k`` and returns ``k / 2^24 * 2b - b``, rounded once. Convolutions and linear layers draw their weight and then their bias
when they are built; normalisations start at constants and draw nothing.
"""

import math
from collections.abc import Mapping

import numpy as np

_CONSTANTS = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}


def default_state(seed: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return a ``state_dict`` as ``torch.manual_seed(seed)`` and building the network leave it.

    Args:
        seed: the seed.
        shapes: the shape of every tensor by name, in the order in which the layers are built.
    """
    source = np.random.RandomState(seed)
    state = {}
    for name, shape in shapes.items():
        owner, _, kind = name.rpartition(".")
        weight = shapes.get(f"{owner}.weight", ())
        if len(weight) > 1:  # a convolution or a linear layer
            fan_in = math.prod(weight[1:])
            gain = math.sqrt(2 / (1 + math.sqrt(5) ** 2))  # kaiming_uniform_(a=sqrt(5)), in the order of its roundings
            bound = math.sqrt(3) * (gain / math.sqrt(fan_in)) if kind == "weight" else 1 / math.sqrt(fan_in)
            state[name] = _uniform(source, shape, bound)
        else:
            state[name] = np.full(shape, _CONSTANTS[kind], np.float32)
    return state


def _uniform(source: np.random.RandomState, shape: tuple[int, ...], bound: float) -> np.ndarray:
    words = np.frombuffer(source.bytes(4 * math.prod(shape)), "<u4")
    bound = float(np.float32(bound))
    # In float64 the product and the difference are exact; the conversion is the one rounding of a fused multiply-add.
    return ((words & (2**24 - 1)) / 2**24 * (2 * bound) - bound).astype(np.float32).reshape(shape)
