"""Does jknas compute what PyTorch computes, and at what cost?

Question: the same weights (:mod:`jknas.networks.torch_state`) and the same images in both libraries, one process. For each
cell, in float32 and float64: the largest absolute difference, the largest difference relative to the largest entry, and the seconds of
both sides. The quantities:
    logits, loss, gradient      one training-mode forward and backward pass of the batch
    gram, eigenvalues,          TE-NAS's kernel of the batch: PyTorch takes one backward pass per example
    condition
    mgm                         Eq. (15) of KNAS: PyTorch takes one forward and backward pass at batch size one per example
    regions                     TE-NAS's count for its thin network on 3,000 patches, by the released formula
Expected: relative differences below 1e-12 in float64 (condition number 1e-10) and below 1e-3 in float32, where a ReLU near zero may switch;
equal region counts in float64.
Command: python -m benchmarks.parity.torch_parity [--channels 16] [--cells 1] [--batch 8] [--repeats 3] [--threads 1]
Needs: pip install -e ".[torch]". About six minutes on one CPU core, most of it compilation; no accelerator. Both libraries are pinned to
--threads cores (Linux). Read the ratios: they vary by 10 %, seconds by more.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from benchmarks import measure
from benchmarks.speed import torch_reference
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.linear_regions import linear_regions
from jknas.kernels.mgm import mgm
from jknas.kernels.spectrum import spectrum
from jknas.networks import CellNetwork
from jknas.networks.nasbench201.cell import edge_name
from jknas.networks.nasbench201.tenas import ThinCellNetwork
from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.torch_state import to_state_dict
from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype
from jknas.spaces.nasbench201.index import genotype_at

CELLS = {
    "mixed": CellGenotype(("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none", "nor_conv_3x3")),
    "all_skip": CellGenotype(("skip_connect",) * 6),
    "index_284": genotype_at(284),
    "all_3x3": CellGenotype(("nor_conv_3x3",) * 6),
}
SEED = 0
Side = Callable[[], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One cell in one precision: the network of both libraries with the same weights, images and labels."""

    network: CellNetwork
    genotype: CellGenotype
    params: Any
    rival: torch.nn.Module
    x: np.ndarray
    y: np.ndarray

    def torch_images(self) -> torch.Tensor:
        """Return the images channels first."""
        return torch.tensor(self.x.transpose(0, 3, 1, 2).copy())

    def apply(self, statistics: str) -> Callable:
        """Return our network as a function of parameters and images."""
        return lambda params, x: self.network.apply(params, x, self.genotype, statistics=statistics)


def made(network: CellNetwork, genotype: CellGenotype, batch: int, dtype: str) -> Case:
    """Draw weights with our generator and load them into the PyTorch network, which registers its tensors in the same order."""
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), network.init(jax.random.key(SEED), genotype))
    rival = torch_reference.network(genotype, channels=network.channels, cells=network.cells, classes=network.classes)
    rival = rival.to(getattr(torch, dtype))
    names = [name for name in rival.state_dict() if not name.endswith("num_batches_tracked")]
    values = to_state_dict(network, genotype, variables).values()
    rival.load_state_dict({name: torch.tensor(np.array(value)) for name, value in zip(names, values, strict=True)}, strict=False)
    images = np.random.default_rng(SEED).standard_normal((batch, 32, 32, 3)).astype(dtype)
    return Case(network, genotype, variables["params"], rival, images, np.arange(batch) % network.classes)


def pass_sides(case: Case) -> tuple[Side, Side]:
    """Return the training-mode pass of ours and of PyTorch."""
    x, y = jnp.asarray(case.x), jnp.asarray(case.y, jnp.int32)
    listed = [tensor for tensor in tensors(case.network, case.genotype) if tensor.collection == "params"]

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        logits = case.apply("batch")(params, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), logits

    program, images, labels = jax.jit(jax.value_and_grad(loss, has_aux=True)), case.torch_images(), torch.tensor(case.y)

    def ours() -> dict[str, np.ndarray]:
        (value, logits), gradient = jax.block_until_ready(program(case.params))
        rows = [np.ravel(tensor.read_torch({"params": gradient})) for tensor in listed]
        return {"logits": np.asarray(logits), "loss": np.asarray(value), "gradient": np.concatenate(rows)}

    def theirs() -> dict[str, np.ndarray]:
        case.rival.zero_grad()
        logits = case.rival(images)
        value = functional.cross_entropy(logits, labels)
        value.backward()
        rows = [parameter.grad.ravel() for parameter in case.rival.parameters()]
        return {"logits": logits.detach().numpy(), "loss": value.detach().numpy(), "gradient": torch.cat(rows).numpy()}

    return ours, theirs


def kernel_sides(case: Case) -> tuple[Side, Side]:
    """Return TE-NAS's kernel of the parameters that have "weight" in their name, and its spectrum."""
    x, images = jnp.asarray(case.x), case.torch_images()
    program = jax.jit(lambda params: ntk_coupled(case.apply("batch"), params, x, parameters="weights"))
    weights = [parameter for name, parameter in case.rival.named_parameters() if "weight" in name]

    def ours() -> dict[str, np.ndarray]:
        matrix = np.asarray(program(case.params))
        found = spectrum(matrix)
        return {"gram": matrix, "eigenvalues": found.eigenvalues, "condition": np.asarray(found.condition_number)}

    def theirs() -> dict[str, np.ndarray]:
        logits, rows = case.rival(images), []
        for i in range(len(images)):
            gradients = torch.autograd.grad(logits[i].sum(), weights, retain_graph=True)
            rows.append(torch.cat([gradient.ravel() for gradient in gradients]))
        jacobian = torch.stack(rows)
        matrix = (jacobian @ jacobian.T).numpy()
        eigenvalues = np.linalg.eigvalsh(matrix.astype(np.float64))
        return {"gram": matrix, "eigenvalues": eigenvalues, "condition": eigenvalues[-1] / eigenvalues[0]}

    return ours, theirs


def mgm_sides(case: Case) -> tuple[Side, Side]:
    """Return Eq. (15) of the loss, each image normalised by itself."""
    x, y = jnp.asarray(case.x), jnp.asarray(case.y, jnp.int32)
    program = jax.jit(lambda params: mgm(case.apply("example"), params, x, y))
    images, labels = case.torch_images(), torch.tensor(case.y)

    def theirs() -> dict[str, np.ndarray]:
        case.rival.zero_grad()
        for i in range(len(images)):  # gradients add up
            functional.cross_entropy(case.rival(images[i : i + 1]), labels[i : i + 1]).backward()
        squares = sum((parameter.grad / len(images)).square().sum() for parameter in case.rival.parameters())
        return {"mgm": squares.numpy()}

    return lambda: {"mgm": np.asarray(program(case.params))}, theirs


def region_sides(case: Case) -> tuple[Side, Side]:
    """Return the regions of the thin network on three batches of 1,000 patches."""
    thin, dtype = ThinCellNetwork(), case.x.dtype
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), thin.init(jax.random.key(SEED), case.genotype))
    patches = np.random.default_rng(SEED).standard_normal((3000, 3, 3, 1)).astype(dtype)
    program = jax.jit(lambda params, x: thin.activations(params, x, case.genotype))
    tensor = jax.tree.map(lambda leaf: torch.tensor(np.array(leaf)), params)
    inputs = torch.tensor(patches.reshape(3, 1000, 1, 3, 3))

    def normalised(x: torch.Tensor, norm: dict) -> torch.Tensor:
        return functional.batch_norm(x, None, None, norm["scale"], norm["bias"], training=True)

    def signs(x: torch.Tensor) -> torch.Tensor:
        nodes, hooked = [x] + [torch.zeros_like(x)] * 3, []
        for edge, ((target, source), name) in enumerate(zip(EDGES, case.genotype.operations, strict=True)):
            value = nodes[source]
            if name.startswith("nor_conv"):
                layer = tensor["cell"][f"{edge_name(edge)}_{name}"]
                hooked.append(functional.relu(value))
                kernel = layer["kernel"].permute(3, 2, 0, 1)
                value = normalised(functional.conv2d(hooked[-1], kernel, padding=kernel.shape[-1] // 2), layer["norm"])
            elif name == "avg_pool_3x3":
                value = functional.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
            elif name == "none":
                value = torch.zeros_like(value)
            nodes[target] = nodes[target] + value
        hooked.append(functional.relu(normalised(nodes[3], tensor["last_norm"])))
        return torch.sign(torch.cat([units.flatten(1) for units in hooked], 1)).float()

    def theirs() -> dict[str, np.ndarray]:
        on = torch.cat([signs(batch) for batch in inputs])
        apart = on @ (1 - on).T
        alike = 1 - torch.sign(apart + apart.T)
        return {"regions": (1 / alike.sum(1)).sum().numpy()}

    def ours() -> dict[str, np.ndarray]:
        found = linear_regions(lambda batch: program(params, batch), jnp.asarray(patches), chunk_size=1000)
        return {"regions": np.asarray(float(found.count))}

    return ours, theirs


def compared(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return value (of scalars), largest absolute difference, and largest difference relative to the largest entry."""
    rows = {}
    for name, value in found.items():
        a, b = np.asarray(value, np.float64), np.asarray(expected[name], np.float64)
        largest = float(np.abs(a - b).max())
        rows[name] = {"ours": float(a), "torch": float(b)} if a.ndim == 0 else {}
        rows[name] |= {"absolute": largest, "relative": largest / float(np.abs(b).max())}
    return rows


def measured(case: Case, repeats: int) -> list[dict]:
    """Compare and time every group of quantities."""
    rows = []
    for sides in (pass_sides, kernel_sides, mgm_sides, region_sides):
        ours, theirs = sides(case)
        differences = compared(ours(), theirs())
        taken = measure.seconds({"ours": ours, "torch": theirs}, repeats=repeats)
        times = {"seconds": measure.medians(taken), "ours_by_torch": measure.ratio(taken, "ours", "torch")}
        rows += [{"quantity": name, **row, **times} for name, row in differences.items()]
    return rows


def table(rows: list[dict]) -> str:
    """Lay the rows out as Markdown."""
    lines = ["| cell | dtype | quantity | absolute | relative | ours s | torch s | ours / torch |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        seconds, ratio = row["seconds"], row["ours_by_torch"]["median"]
        lines.append(
            f"| {row['cell']} | {row['dtype']} | {row['quantity']} | {row['absolute']:.1e} | {row['relative']:.1e} "
            f"| {seconds['ours']:.3f} | {seconds['torch']:.3f} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compare every cell in both precisions and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"channels": 16, "cells": 1, "batch": 8, "repeats": 3, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-chosen.threads :])
    network, rows = CellNetwork(chosen.channels, chosen.cells), []
    for cell, genotype in CELLS.items():
        for dtype in ("float64", "float32"):
            with jax.enable_x64(dtype == "float64"):
                found = measured(made(network, genotype, chosen.batch, dtype), chosen.repeats)
                rows += [{"cell": cell, "genotype": str(genotype), "dtype": dtype, **row} for row in found]
                print(table(rows[-len(found) :]), flush=True)
        measure.record(
            "parity/torch_parity",
            {
                "question": "differences from PyTorch with the same weights and images, and the times of both",
                "seed": SEED,
                **vars(chosen),
                "rows": rows,
            },
            extra_versions={"torch": torch.__version__},
        )
    print(table(rows))


if __name__ == "__main__":
    main()
