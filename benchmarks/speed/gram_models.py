"""How fast is the exact kernel of a model that other people wrote?

Question: ``jknas.gram`` on unmodified models of Keras (JAX backend), Haiku, Equinox (Equimo), Flax Linen and NNX, random weights, float32,
normalisation in inference mode, medians of ratios of paired repetitions in one process per model:
    gram / step              the N x N kernel against one training step (cross-entropy, gradient, SGD with momentum) on the same batch
    vmap_grad / gram         jax.vmap(jax.grad) and one matrix product per parameter against the kernel
    neural_tangents / gram   neural-tangents' Jacobian contraction, where it can be imported, against the kernel
    gram / step, compiling   seconds of compilation of the two programs
with the memory of each program's temporary buffers, how the parameters entered, and the largest difference between the two kernels,
relative to the largest entry. floor / step: the time of N^2 P multiplications, which forming per-example gradients cannot avoid, at the
speed of a matrix product in the same process.
Wanted: gram / step at most 1.10, vmap_grad / gram above 1, compilation at most twice the step's, differences about 1e-6.
A contender whose compiled program asks for more memory than --memory GB is not run; the result says what it asks for, and the difference
is taken on two examples.
Command: python -m benchmarks.speed.gram_models [--models mobilenet_v2 ...] [--examples 16] [--repeats 5] [--memory 8]
Needs: pip install -e ".[models]" (neural-tangents is measured where it can be imported). About forty minutes on two CPU cores, most of it
compilation. Results are added to gram_models.json model by model; "cores" says on how many of them.
"""

import argparse
import collections
import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from jknas import gram
from jknas.kernels.neural_tangents.empirical import neural_tangents_gram

CLASSES = 10
Model = tuple[Callable[[Any, jax.Array], jax.Array], Any]
"""``apply(params, x) -> logits`` and the parameters."""
WORDS, LENGTH = 1000, 64  # vocabulary and positions of the text models


def keras_model(name: str, resolution: int) -> Model:
    """Return a model of ``keras.applications``."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras  # noqa: PLC0415 - only one model's package is needed

    keras.utils.set_random_seed(0)
    options = {"weights": None, "classes": CLASSES, "classifier_activation": None}
    model = getattr(keras.applications, name)(input_shape=(resolution, resolution, 3), **options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass makes its averages those of the images: by the initial ones, signals die out on their way
    params, state = ([variable.value for variable in some] for some in (model.trainable_variables, model.non_trainable_variables))
    images = jax.random.normal(jax.random.key(1), (32, resolution, resolution, 3))
    _, state = jax.jit(functools.partial(model.stateless_call, training=True))(params, state, images)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return model.stateless_call(params, state, x, training=False)[0]

    return apply, params


def haiku_model(name: str, resolution: int) -> Model:
    """Return a model of ``haiku.nets``."""
    import haiku  # noqa: PLC0415 - only one model's package is needed

    make = getattr(haiku.nets, name)
    model = lambda *inputs: make(num_classes=CLASSES)(*inputs)  # noqa: E731, PLW0108 - Haiku makes modules inside
    network = haiku.without_apply_rng(haiku.transform_with_state(model))
    images = jax.random.normal(jax.random.key(1), (4, resolution, resolution, 3))
    params, state = network.init(jax.random.key(0), images, True)
    _, state = network.apply(params, state, images, True)  # averages that saw nothing are 0 / 0
    return lambda params, x: network.apply(params, state, x, False)[0], params


def flax_model(name: str, resolution: int) -> Model:
    """Return a model of the package ``flaxmodels`` (flax.linen)."""
    import flaxmodels  # noqa: PLC0415 - only one model's package is needed

    model = getattr(flaxmodels, name)(output="logits", pretrained=None, num_classes=CLASSES, normalize=False)
    variables = model.init(jax.random.key(0), jnp.zeros((1, resolution, resolution, 3)), train=False)
    state = {name: value for name, value in variables.items() if name != "params"}
    return lambda params, x: model.apply({"params": params, **state}, x, train=False), variables["params"]


def equimo_vit(resolution: int) -> Model:
    """Return the vision transformer of Equimo (Equinox), six blocks of width 192."""
    import equinox  # noqa: PLC0415 - only one model's package is needed
    from equimo.models.vit import VisionTransformer  # noqa: PLC0415

    sizes = {"img_size": resolution, "in_channels": 3, "dim": 192, "patch_size": 4, "num_heads": 3, "depths": [6], "num_classes": CLASSES}
    params, static = equinox.partition(VisionTransformer(**sizes, key=jax.random.key(0)), equinox.is_inexact_array)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        model, key = equinox.combine(params, static), jax.random.key(0)
        return jax.vmap(lambda image: model(image, key=key, inference=True))(x.transpose(0, 3, 1, 2))

    return apply, params


def nnx_decoder(layers: int, *, scanned: bool, width: int = 256) -> Model:
    """Return a causal decoder of GPT-2's shape in Flax NNX, its output layer tied to its embedding; logits of the last position."""
    from flax import nnx  # noqa: PLC0415 - only one model's package is needed

    class Block(nnx.Module):
        def __init__(self, rngs: Any):
            self.before, self.between = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(width // 64, width, decode=False, rngs=rngs)
            self.wide, self.narrow = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

        def __call__(self, h: jax.Array) -> jax.Array:
            h = h + self.attention(self.before(h), mask=nnx.make_causal_mask(jnp.ones(h.shape[:2])))
            return h + self.narrow(nnx.gelu(self.wide(self.between(h))))

    class Decoder(nnx.Module):
        def __init__(self, rngs: Any):
            self.words, self.places = nnx.Embed(WORDS, width, rngs=rngs), nnx.Embed(LENGTH, width, rngs=rngs)
            make = nnx.vmap(Block, in_axes=0, out_axes=0)
            self.blocks = make(rngs.split(layers)) if scanned else nnx.List([Block(rngs) for _ in range(layers)])
            self.last = nnx.LayerNorm(width, rngs=rngs)

        def __call__(self, tokens: jax.Array) -> jax.Array:
            h = self.words(tokens) + self.places(jnp.arange(LENGTH))[None]
            if scanned:
                h = nnx.scan(lambda h, block: block(h), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(h, self.blocks)
            else:
                for block in self.blocks:
                    h = block(h)
            return self.words.attend(self.last(h[:, -1]))

    graph, params, rest = nnx.split(Decoder(nnx.Rngs(0)), nnx.Param, ...)
    return lambda params, x: nnx.merge(graph, params, rest)(x), params


MODELS = {
    "mobilenet_v2": ("Keras MobileNetV2", functools.partial(keras_model, "MobileNetV2"), 32),
    "efficientnet_b0": ("Keras EfficientNetB0", functools.partial(keras_model, "EfficientNetB0"), 32),
    "convnext_tiny": ("Keras ConvNeXtTiny", functools.partial(keras_model, "ConvNeXtTiny"), 32),
    "densenet121": ("Keras DenseNet121", functools.partial(keras_model, "DenseNet121"), 32),
    "xception": ("Keras Xception", functools.partial(keras_model, "Xception"), 71),
    "nasnet_mobile": ("Keras NASNetMobile", functools.partial(keras_model, "NASNetMobile"), 32),
    "haiku_resnet18": ("Haiku ResNet18", functools.partial(haiku_model, "ResNet18"), 64),
    "haiku_mobilenet": ("Haiku MobileNetV1", functools.partial(haiku_model, "MobileNetV1"), 64),
    "flax_resnet18": ("Flax ResNet18 (flaxmodels)", functools.partial(flax_model, "ResNet18"), 64),
    "equimo_vit": ("Equimo ViT, 6 blocks of 192", equimo_vit, 32),
    "nnx_tied": ("NNX decoder, tied weights, 4 blocks of 256", lambda _: nnx_decoder(4, scanned=False), None),
    "nnx_scanned": ("NNX decoder, tied and scanned, 6 blocks of 256", lambda _: nnx_decoder(6, scanned=True), None),
}


def vmap_grad(apply: Callable[[Any, jax.Array], jax.Array], params: Any, x: jax.Array) -> jax.Array:
    """Return the kernel by per-example gradients and one matrix product per parameter."""
    gradients = jax.vmap(jax.grad(lambda params, image: apply(params, image[None]).sum()), in_axes=(None, 0))(params, x)
    rows = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(gradients)]
    return sum(jnp.matmul(row, row.T, precision="highest") for row in rows)


def training_step(apply: Callable[[Any, jax.Array], jax.Array], params: Any, momentum: Any, x: jax.Array, labels: jax.Array) -> Any:
    """Return parameters and momentum after one step of SGD on the mean cross-entropy."""

    def loss(params: Any) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(apply(params, x)), labels[:, None], 1).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradient)
    return jax.tree.map(lambda p, m: p - 0.1 * m, params, momentum), momentum, value


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[], Any], dict[str, float]]:
    """Return a compiled call, the seconds that compiling took and the GB of its temporary buffers."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    facts = {"compile_seconds": time.perf_counter() - start, "temporary_gb": program.memory_analysis().temp_size_in_bytes / 1e9}
    return functools.partial(program, *arguments), facts


def measure_model(name: str, n: int, repeats: int, memory: float) -> dict[str, Any]:
    """Time the kernel of one model, a training step and the rival."""
    title, make, resolution = MODELS[name]
    apply, params = make(resolution)
    rng = np.random.default_rng(0)
    shape = (n, resolution, resolution, 3)
    x = jnp.asarray(rng.standard_normal(shape, np.float32) if resolution else rng.integers(WORDS, size=(n, LENGTH)))
    labels, momentum = jnp.arange(n) % CLASSES, jax.tree.map(jnp.zeros_like, params)
    functions = {
        "step": (functools.partial(training_step, apply), params, momentum, x, labels),
        "gram": (lambda params, x: gram(apply, params, x, interaction="ignore").matrix, params, x),
        "vmap_grad": (functools.partial(vmap_grad, apply), params, x),
        "neural_tangents": (functools.partial(neural_tangents_gram, apply), params, x),
    }
    contenders, programs = {}, {}
    for label, (function, *arguments) in functions.items():
        try:
            run, programs[label] = compiled(function, *arguments)
        except Exception as error:  # a rival that cannot take the model is a result
            if label in ("step", "gram"):
                raise
            programs[label] = {"refused": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            continue
        print(name, label, programs[label], flush=True)
        if programs[label]["temporary_gb"] <= memory:
            contenders[label] = run
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    square = jnp.ones((1024, 1024), jnp.float32)
    contenders["product"] = functools.partial(jax.jit(lambda a: jnp.matmul(a, a, precision="highest")), square)
    taken = measure.seconds(contenders, repeats=repeats)
    pairs = [("gram", "step"), ("vmap_grad", "gram"), ("neural_tangents", "gram")]
    floor = measure.medians(taken)["product"] * n**2 * size / 1024**3
    entered = collections.Counter(c.form for c in gram(apply, params, x[:2], interaction="ignore").contractions)
    found = {
        "model": title,
        "parameters": size,
        "contractions": dict(entered.most_common()),
        "floor_seconds": floor,
        "resolution": resolution,
        "examples": n,
        "repeats": repeats,
        "programs": programs,
        "seconds": measure.medians(taken),
        "ratios": {f"{of} / {to}": measure.ratio(taken, of, to) for of, to in pairs if of in taken and to in taken},
    }
    some = n if "vmap_grad" in contenders else 2
    theirs = contenders["vmap_grad"]() if some == n else jax.jit(functools.partial(vmap_grad, apply))(params, x[:some])
    ours, theirs = np.asarray(contenders["gram"](), np.float64)[:some, :some], np.asarray(theirs, np.float64)
    found["largest_relative_difference"] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return found


def main() -> None:
    """Measure every model in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=float, default=8.0, help="GB of temporary buffers above which a contender is not run")
    parser.add_argument("--one", help="measure one model in this process and print its result")
    options = parser.parse_args()
    sizes = (options.examples, options.repeats, options.memory)
    if options.one:
        print(json.dumps(measure_model(options.one, *sizes)))
        return
    known = measure.recorded("speed/gram_models").get("models", {})
    for name in options.models:
        command = [sys.executable, "-m", "benchmarks.speed.gram_models", "--one", name]
        command += ["--examples", str(sizes[0]), "--repeats", str(sizes[1]), "--memory", str(sizes[2])]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        known[name] = json.loads(run.stdout.splitlines()[-1]) | {"load": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
        print(name, {pair: round(value["median"], 2) for pair, value in known[name]["ratios"].items()}, flush=True)
        models = {one: known[one] for one in MODELS if one in known}
        packages = {package: importlib.metadata.version(package) for package in ("keras", "dm-haiku", "equimo", "flaxmodels")}
        note = "of two cores shared with other work: load is the number of runnable processes; the ratios pair runs that follow each other"
        measure.record(
            "speed/gram_models",
            {"question": "the kernel of models that other people wrote", "note": note, "models": models, "gpu": "not measured"},
            extra_versions=packages,
        )


if __name__ == "__main__":
    main()
