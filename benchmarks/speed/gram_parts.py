"""What do the diagonal and a sketch of the kernel cost, compared with the whole kernel and with a training step?

Question: the NAS-Bench-201 network (16 channels, 5 cells per stage, all-3x3 cell, 32 x 32 images) and a ViT-like model (six blocks, 64
tokens of width 192, three heads), ratios in one process:
    gram_diagonal / step         squared gradient norms in one backward pass       expected: at most that of gram
    sketched_gram / step         random features, width 256 and 1024               expected: at most 1.2 times that of gram
    gram / step                  the exact kernel
    gram in four chunks / step   the same with chunk_size a quarter of the examples, whose gradients are kept: every example once
    gram in pairs / step         the same where they do not fit: 28 pairs of eighths of the examples, seven passes in all
    vmap(grad) norms / step      the usual way: all per-example gradients, then their norms
The step is the gradient of the mean loss and a momentum update.
Command: python -m benchmarks.speed.gram_parts [--repeats 3] [--examples 32] [--models nasbench201 vit]
About five minutes on two CPU cores. Recorded on one core, while another program ran on the other.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from jknas.kernels.diagonal import gram_diagonal
from jknas.kernels.gram import gram
from jknas.kernels.objectives import per_example
from jknas.kernels.sketch import sketched_gram
from jknas.networks import CellNetwork
from jknas.spaces.nasbench201.genotype import CellGenotype

WIDTHS = (256, 1024)


def nasbench201() -> tuple[Callable, Any]:
    """Return the function and the parameters of the NAS-Bench-201 network."""
    network, genotype = CellNetwork(), CellGenotype(("nor_conv_3x3",) * 6)
    return lambda params, x: network.apply(params, x, genotype), network.init(jax.random.key(0), genotype)["params"]


def vit(width: int = 192, heads: int = 3, blocks: int = 6, patch: int = 4) -> tuple[Callable, Any]:
    """Return the function and the parameters of a small vision transformer."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]), jnp.float32)

    def block() -> dict[str, jax.Array]:
        weights = {
            "qkv": drawn(width, 3 * width),
            "out": drawn(width, width),
            "up": drawn(width, 4 * width),
            "down": drawn(4 * width, width),
        }
        return weights | {"norm1": jnp.ones(width), "norm2": jnp.ones(width), "bias": jnp.zeros(4 * width)}

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6) * scale

    def apply(params: Any, x: jax.Array) -> jax.Array:
        side = x.shape[1] // patch
        x = x.reshape(-1, side, patch, side, patch, 3).swapaxes(2, 3).reshape(-1, side * side, patch * patch * 3)
        x = x @ params["embed"] + params["places"]
        for layer in params["blocks"]:
            q, k, v = jnp.split((norm(x, layer["norm1"]) @ layer["qkv"]).reshape(*x.shape[:2], heads, -1), 3, axis=-1)
            x = x + jax.nn.dot_product_attention(q, k, v).reshape(x.shape) @ layer["out"]
            x = x + jax.nn.gelu(norm(x, layer["norm2"]) @ layer["up"] + layer["bias"]) @ layer["down"]
        return x.mean(1) @ params["head"]

    tokens = (32 // patch) ** 2
    params = {"embed": drawn(patch * patch * 3, width), "places": drawn(tokens, width), "head": drawn(width, 10)}
    return apply, params | {"blocks": [block() for _ in range(blocks)]}


def measured(apply: Callable, params: Any, n: int, repeats: int) -> dict[str, Any]:
    """Time every function on one model, and compare the sketches with the exact kernel."""
    x, labels = jnp.asarray(np.random.default_rng(0).standard_normal((n, 32, 32, 3), np.float32)), jnp.arange(n) % 10

    def loss(params: Any) -> jax.Array:
        return per_example(apply(params, x), labels).mean()

    @jax.jit
    def step(params: Any, momentum: Any) -> Any:
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, jax.grad(loss)(params))
        return jax.tree.map(lambda p, m: p - 0.1 * m, params, momentum), momentum

    @jax.jit
    def norms(params: Any) -> jax.Array:
        gradients = jax.vmap(jax.grad(lambda p, x: apply(p, x[None]).sum()), (None, 0))(params, x)
        return sum(jnp.sum(jnp.square(leaf.reshape(n, -1)), 1) for leaf in jax.tree.leaves(gradients))

    options = {"interaction": "ignore"}
    sketch = functools.partial(sketched_gram, apply, params, x, key=jax.random.key(0), **options)
    contenders = {
        "step": functools.partial(step, params, jax.tree.map(jnp.zeros_like, params)),
        "gram_diagonal": lambda: gram_diagonal(apply, params, x, **options),
        **{f"sketched_gram, width {width}": lambda width=width: sketch(width=width).features for width in WIDTHS},
        "gram": lambda: gram(apply, params, x, **options).matrix,
        "gram in four chunks": lambda: gram(apply, params, x, chunk_size=n // 4, **options).matrix,
        "gram in pairs": lambda: gram(apply, params, x, chunk_size=n // 4, method="one_pass", **options).matrix,
        "vmap(grad) norms": functools.partial(norms, params),
    }
    taken = measure.seconds(contenders, repeats=repeats)
    kernel = np.asarray(contenders["gram"](), np.float64)
    diagonal = np.diag(kernel)
    promised = np.sqrt(np.outer(diagonal, diagonal) + kernel**2)
    deviations = {width: (np.asarray(sketch(width=width), np.float64) - kernel) * np.sqrt(width) / promised for width in WIDTHS}
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "seconds": measure.medians(taken),
        "ratios": {f"{name} / step": measure.ratio(taken, name, "step") for name in contenders if name != "step"},
        "largest relative error of gram_diagonal": float(np.max(np.abs(contenders["gram_diagonal"]() / diagonal - 1))),
        "sketch errors in promised standard deviations, root mean square": {
            str(width): float(np.sqrt(statistics.fmean((value**2).ravel()))) for width, value in deviations.items()
        },
    }


def main() -> None:
    """Measure and record."""
    models = {"nasbench201": nasbench201, "vit": vit}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--models", nargs="*", default=list(models), choices=list(models))
    options = parser.parse_args()
    found = {}
    for name in options.models:
        found[name] = measured(*models[name](), options.examples, options.repeats)
        print(name, {pair: round(value["median"], 2) for pair, value in found[name]["ratios"].items()}, flush=True)
    size = {"examples": options.examples, "resolution": 32, "data": "standard normal, seed 0"}
    question = "the diagonal and a sketch of the kernel compared with the kernel and a training step"
    measure.record("speed/gram_parts", {"question": question, "size": size, "repeats": options.repeats, "models": found})


if __name__ == "__main__":
    main()
