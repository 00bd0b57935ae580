"""The NAS-Bench-201 network in plain PyTorch: the rival that speed is measured against (float32, channels first)."""

import torch
from torch import nn

from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype


def _relu_conv_norm(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(c_out))


def _operation(name: str, channels: int) -> nn.Module | None:
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return _relu_conv_norm(channels, channels, 1 if name == "nor_conv_1x1" else 3)


class _Cell(nn.Module):
    def __init__(self, genotype: CellGenotype, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList([_operation(name, channels) or nn.Identity() for name in genotype.operations])
        self.live = [name != "none" for name in genotype.operations]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x, 0, 0, 0]
        for (target, source), operation, live in zip(EDGES, self.operations, self.live, strict=True):
            value = nodes[source] if isinstance(nodes[source], torch.Tensor) else torch.zeros_like(x)
            nodes[target] = nodes[target] + (operation(value) if live else value * 0)
        return nodes[3]


class Reduction(nn.Module):
    """The residual block that halves the resolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.a, self.b = _relu_conv_norm(c_in, c_out, 3, 2), _relu_conv_norm(c_out, c_out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both paths."""
        return self.shortcut(x) + self.b(self.a(x))


def network(genotype: CellGenotype, *, channels: int = 16, cells: int = 5, classes: int = 10) -> nn.Sequential:
    """Build the network in training mode with PyTorch's default initialisation."""
    c = channels
    layers: list[nn.Module] = [nn.Conv2d(3, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)]
    for stage in range(3):
        layers += [Reduction(c // 2, c)] if stage else []
        layers += [_Cell(genotype, c) for _ in range(cells)]
        c *= 2
    layers += [nn.BatchNorm2d(c // 2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c // 2, classes)]
    return nn.Sequential(*layers).train()
