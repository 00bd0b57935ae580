"""Exchange of weights with ``NetworkCIFAR`` of quark0/darts: names and order, there and back, and the numbers of a PyTorch module."""

import re

import jax
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas.errors import NetworkError
from jknas.networks.darts import DartsNetwork
from jknas.spaces.darts.genotype import NAMED

GENOTYPE = NAMED["DARTS_V2"]  # with skips and poolings in its reduction cell
NETWORKS = {
    "cifar": DartsNetwork(2, 4, 3),
    "cifar auxiliary": DartsNetwork(2, 3, 3, auxiliary=True),
    "imagenet auxiliary": DartsNetwork(2, 2, 3, stem="imagenet", auxiliary=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_changes_nothing(name):
    network = NETWORKS[name]
    variables = random_variables(network, GENOTYPE)
    returned = network.from_state_dict(GENOTYPE, network.to_state_dict(GENOTYPE, variables))
    assert jax.tree.structure(returned) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, returned, variables)


def test_names_order_and_layouts_are_those_of_the_released_code():
    state = NETWORKS["cifar"].to_state_dict(GENOTYPE, random_variables(NETWORKS["cifar"], GENOTYPE))
    names = list(state)
    norm = ("weight", "bias", "running_mean", "running_var")
    assert names[:5] == ["stem.0.weight", *(f"stem.1.{part}" for part in norm)]
    assert names[5:11] == [
        "cells.0.preprocess0.op.1.weight",
        *(f"cells.0.preprocess0.op.2.{p}" for p in norm),
        "cells.0.preprocess1.op.1.weight",
    ]
    separable = [name for name in names if name.startswith("cells.0._ops.0.")]
    inside = "cells.0._ops.0.op"
    assert separable == [
        *(f"{inside}.{place}.weight" for place in (1, 2)), *(f"{inside}.3.{part}" for part in norm),
        *(f"{inside}.{place}.weight" for place in (5, 6)), *(f"{inside}.7.{part}" for part in norm),
    ]  # fmt: skip
    assert {name.split(".op.")[1].split(".")[0] for name in names if name.startswith("cells.0._ops.7.")} == {"1", "2", "3"}  # dilated
    assert [name for name in names if name.startswith("cells.2.preprocess0")][:2] == [
        "cells.2.preprocess0.conv_1.weight", "cells.2.preprocess0.conv_2.weight",
    ]  # fmt: skip
    assert names[-2:] == ["classifier.weight", "classifier.bias"]
    assert state["stem.0.weight"].shape == (6, 3, 3, 3)
    assert state["cells.0._ops.0.op.1.weight"].shape == (2, 1, 3, 3)
    assert state["cells.0._ops.0.op.2.weight"].shape == (2, 2, 1, 1)


def test_the_auxiliary_head_comes_before_the_classifier():
    names = list(NETWORKS["cifar auxiliary"].to_state_dict(GENOTYPE, random_variables(NETWORKS["cifar auxiliary"], GENOTYPE)))
    assert names[-4:] == ["auxiliary_head.classifier.weight", "auxiliary_head.classifier.bias", "classifier.weight", "classifier.bias"]
    assert "auxiliary_head.features.6.running_var" in names
    imagenet = NETWORKS["imagenet auxiliary"]
    names = list(imagenet.to_state_dict(GENOTYPE, random_variables(imagenet, GENOTYPE)))
    assert not any(name.startswith("auxiliary_head.features.6") for name in names), "the released ImageNet head has no second normalisation"
    assert names[0] == "stem0.0.weight"
    assert "stem1.2.running_var" in names


def test_the_state_of_another_genotype_is_refused():
    network = NETWORKS["cifar"]
    state = network.to_state_dict(GENOTYPE, random_variables(network, GENOTYPE))
    with pytest.raises(NetworkError, match=re.escape("state_dict does not belong to Genotype")):
        network.from_state_dict(NAMED["DARTS_V1"], state)


@pytest.fixture
def rival():
    """Build the released network as a plain PyTorch module."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def conv(c_in, c_out, size, stride=1, padding=0, groups=1, dilation=1):  # noqa: PLR0917
        return nn.Conv2d(c_in, c_out, size, stride, padding, groups=groups, dilation=dilation, bias=False)

    class Wrapped(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.op = nn.Sequential(*layers)

        def forward(self, x):
            return self.op(x)

    class FactorizedReduce(nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.conv_1, self.conv_2 = conv(c_in, c_out // 2, 1, 2), conv(c_in, c_out // 2, 1, 2)
            self.bn = nn.BatchNorm2d(c_out)

        def forward(self, x):
            x = torch.relu(x)
            return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))

    def operation(name, c, stride):
        if name == "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        if name == "max_pool_3x3":
            return nn.MaxPool2d(3, stride, 1)
        if name == "avg_pool_3x3":
            return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        size, dilation = int(name[-1]), 2 if name.startswith("dil") else 1

        def block(stride):
            pad = dilation * (size - 1) // 2
            return [nn.ReLU(), conv(c, c, size, stride, pad, c, dilation), conv(c, c, 1), nn.BatchNorm2d(c)]

        return Wrapped(*block(stride), *(block(1) if name.startswith("sep") else []))

    class Cell(nn.Module):
        def __init__(self, genotype, before, last, c, reduction, halved):  # noqa: PLR0917
            super().__init__()
            self.preprocess0 = FactorizedReduce(before, c) if halved else Wrapped(nn.ReLU(), conv(before, c, 1), nn.BatchNorm2d(c))
            self.preprocess1 = Wrapped(nn.ReLU(), conv(last, c, 1), nn.BatchNorm2d(c))
            self.pairs = genotype.reduce if reduction else genotype.normal
            self._ops = nn.ModuleList(operation(name, c, 2 if reduction and source < 2 else 1) for name, source in self.pairs)

        def forward(self, before, last):
            states = [self.preprocess0(before), self.preprocess1(last)]
            for at in range(0, 8, 2):
                states.append(sum(self._ops[at + i](states[self.pairs[at + i][1]]) for i in (0, 1)))
            return torch.cat(states[2:], 1)

    class NetworkCIFAR(nn.Module):
        def __init__(self, genotype, c, layers, classes):
            super().__init__()
            self.stem = nn.Sequential(conv(3, 3 * c, 3, 1, 1), nn.BatchNorm2d(3 * c))
            before = last = 3 * c
            self.cells, halved = nn.ModuleList(), False
            for index in range(layers):
                reduction = index in (layers // 3, 2 * layers // 3)
                c *= 2 if reduction else 1
                self.cells.append(Cell(genotype, before, last, c, reduction, halved))
                before, last, halved = last, 4 * c, reduction
            self.classifier = nn.Linear(last, classes)

        def forward(self, x):
            before = last = self.stem(x)
            for cell in self.cells:
                before, last = last, cell(before, last)
            return self.classifier(last.mean((2, 3)))

    return torch, NetworkCIFAR


@pytest.mark.parametrize("name", ["DARTS_V2", "TENAS_cifar10"])
def test_a_pytorch_module_computes_the_same(rival, name):
    torch, build = rival
    genotype, network = NAMED[name], DartsNetwork(4, 4, 3)
    variables = random_variables(network, genotype)
    module = build(genotype, 4, 4, 3).eval()
    state = network.to_state_dict(genotype, variables)
    assert list(state) == [key for key in module.state_dict() if not key.endswith("num_batches_tracked")]
    module.load_state_dict({key: torch.tensor(value) for key, value in state.items()}, strict=False)
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    returned = network.from_state_dict(genotype, module.state_dict())
    apply = quick_jit(lambda v, x: network.apply(v["params"], x, genotype, statistics="running", batch_stats=v["batch_stats"]))
    np.testing.assert_allclose(apply(returned, x), expected, rtol=1e-3, atol=1e-3)
