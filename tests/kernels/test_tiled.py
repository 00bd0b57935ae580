"""Kernels on disk: the same numbers as ``gram``, in any scheme and cut, through interruptions, damage and on several devices."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_models import MODELS, Draw, N
from tolerances import relative_error, tolerances

from jknas import tiled_gram
from jknas.errors import KernelError
from jknas.kernels import tile_file
from jknas.kernels.gram import gram
from jknas.kernels.tape.one_pass import example_gradients
from jknas.kernels.tile_plan import Sizes, plan_tiles
from jknas.kernels.tile_sizes import activation_bytes, order_of_use


@pytest.fixture
def out(tmp_path):
    return tmp_path / "kernel.npy"


def wide(apply, params, x, count, seed=3):
    """Return ``count`` inputs like ``x``."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *x.shape[1:])).astype(np.asarray(x).dtype)


def reference(apply, params, x, x2=None, **options):
    """Return the kernel through every example's whole gradient."""
    return np.asarray(gram(apply, params, jnp.asarray(x), x2, method="jacobian", **options).matrix)


def close(kernel, expected):
    return relative_error(np.asarray(kernel), expected) <= tolerances().gram


# Numbers

FAMILIES = [
    "mlp",
    pytest.param("convolutions", marks=pytest.mark.slow),
    pytest.param("scanned_vit", marks=pytest.mark.slow),
    "tied_embedding",
]
FAMILIES += [pytest.param("group_norm_cnn", marks=pytest.mark.slow), "weight_standardisation", "embedding_take"]


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
@pytest.mark.parametrize("name", FAMILIES)
def test_tiles_equal_the_kernel_of_single_gradients(float64, out, name, scheme):
    apply, params, x = MODELS[name].made()
    kernel = tiled_gram(apply, params, x, out=out, scheme=scheme, tile=2)
    expected = reference(apply, params, x)
    assert close(kernel, expected)
    assert kernel.plan.scheme == scheme
    assert kernel.parameters == gram(apply, params, x).parameters
    loaded = np.load(out, mmap_mode="r")
    assert isinstance(loaded, np.memmap)
    np.testing.assert_array_equal(loaded, kernel.matrix)
    np.testing.assert_array_equal(loaded, loaded.T)  # to the last bit
    values = np.linalg.eigvalsh(loaded)
    assert values.min() >= -1e-12 * values.max()


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
@pytest.mark.parametrize("tile", [1, 3, 7, 8, "auto"])
def test_the_cut_changes_nothing(float64, out, scheme, tile):
    apply, params, x = MODELS["mlp"].made()
    x = wide(apply, params, x, 7)
    assert close(tiled_gram(apply, params, x, out=out, scheme=scheme, tile=tile), reference(apply, params, x))


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
def test_rectangles(float64, out, scheme):
    apply, params, x = MODELS["mlp"].made()
    other = wide(apply, params, x, 7)
    kernel = tiled_gram(apply, params, np.asarray(x), other, out=out, scheme=scheme, tile=3)
    assert kernel.matrix.shape == (N, 7)
    assert close(kernel, reference(apply, params, x, other))
    again = tiled_gram(apply, params, other, np.asarray(x), out=out.with_name("turned.npy"), scheme=scheme, tile=2)
    assert close(again, kernel.matrix.T)


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
def test_losses_traces_and_chosen_parameters(float64, out, scheme):
    apply, params, x = MODELS["mlp"].made()
    options = {"objective": "loss", "labels": np.arange(N) % 3}
    assert close(tiled_gram(apply, params, x, out=out, tile=2, scheme=scheme, **options), reference(apply, params, x, **options))
    options |= {"labels2": np.array([2, 0])}
    both = tiled_gram(apply, params, x, x[:2], out=out.with_name("two.npy"), tile=2, scheme=scheme, **options)
    assert close(both, reference(apply, params, x, x[:2], **options))
    trace = tiled_gram(apply, params, x, out=out.with_name("trace.npy"), tile=2, scheme=scheme, outputs="trace")
    assert close(trace, reference(apply, params, x, outputs="trace"))
    weights = tiled_gram(apply, params, x, out=out.with_name("w.npy"), tile=2, scheme=scheme, parameters=lambda path: "w" in path)
    assert close(weights, reference(apply, params, x, parameters=lambda path: "w" in path))
    assert weights.parameters == ("['w1']", "['w2']")


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
def test_a_permutation_of_the_examples_permutes_rows_and_columns(float64, out, scheme):
    apply, params, x = MODELS["mlp"].made()
    x, order = wide(apply, params, x, 7), np.random.default_rng(1).permutation(7)
    kernel = tiled_gram(apply, params, x, out=out, tile=3, scheme=scheme).matrix
    permuted = tiled_gram(apply, params, x[order], out=out.with_name("permuted.npy"), tile=3, scheme=scheme)
    assert close(permuted, kernel[order][:, order])


def test_little_memory_takes_groups_of_parameters_and_strips(float64, out):
    """Four layers and 40 examples: with less memory the same kernel comes from more passes."""
    draw = Draw(0)
    params = [draw(20, 20) for _ in range(4)]

    def apply(p, x):
        for w in p:
            x = jnp.tanh(x @ w)
        return x

    x = np.random.default_rng(0).standard_normal((40, 20))
    expected, plans = reference(apply, params, x), []
    for memory in (10**8, 400_000, 200_000, 80_000):
        kernel = tiled_gram(apply, params, x, out=out, memory=memory, scheme="slices", resume=False)
        assert close(kernel, expected)
        assert kernel.plan.memory <= memory
        plans.append(kernel.plan)
    assert (plans[0].passes, len(plans[0].groups)) == (40, 1)
    assert [plan.cost for plan in plans] == sorted(plan.cost for plan in plans)
    assert plans[-1].passes > 2 * plans[1].passes > 4 * 40
    assert max(len(plan.groups) for plan in plans) > 1
    assert min(plan.strip * plan.tile for plan in plans) < 40
    with pytest.raises(KernelError, match=r"memory=1000 bytes hold no block of this kernel.*Raise memory=, lower tile="):
        tiled_gram(apply, params, x, out=out, memory=1000, resume=False)


def test_inputs_stay_on_the_host(out, tmp_path):
    apply, params, x = MODELS["mlp"].made()
    np.save(tmp_path / "x.npy", wide(apply, params, x, 9))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert close(tiled_gram(apply, params, mapped, out=out, tile=4), reference(apply, params, mapped))
    assert np.load(out).dtype == np.float32


# The choice


def sizes(**changes):
    values = {"rows": 5000, "columns": None, "leaves": (10**4,) * 27, "activations": 4 * 10**6, "width": 4, "devices": 1, "step": 2.5e8}
    return Sizes(**(values | {"pair": lambda t: 2 * t * 2.5e8 + 2 * t * t * 27e4} | changes))


def test_passes_are_few_where_the_gradients_fit():
    plan = plan_tiles(sizes(), 2**34)
    assert (plan.scheme, len(plan.groups)) == ("slices", 1)
    assert 5000 <= plan.passes <= 5000 * 1.02
    assert plan.products >= 5000**2 * 27e4  # two FLOPs per multiplication of the upper half


def test_layers_that_pairs_contract_cheaply_take_pairs():
    assert plan_tiles(sizes(leaves=(10**8, 10**8), pair=lambda t: 2 * t * 1.2e9), 2**34).scheme == "pairs"
    assert plan_tiles(sizes(leaves=(10**8, 10**8), pair=lambda t: float("inf")), 2**34).scheme == "slices"


@pytest.mark.parametrize("memory", [2**27, 2**29, 2**31, 2**33])
@pytest.mark.parametrize("devices", [1, 4])
def test_plans_keep_to_the_memory_and_to_the_devices(memory, devices):
    plan = plan_tiles(sizes(devices=devices), memory)
    assert plan.memory <= memory
    assert plan.tile % devices == 0
    assert (plan.tile // devices) % plan.batch == 0 or plan.scheme == "pairs"


def test_activations_and_the_order_of_use():
    def f(a, b, x):
        def body(x, _):
            return jnp.tanh(x) @ b, None

        return jax.lax.scan(body, x, None, length=5)[0] @ a

    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    jaxpr = jax.make_jaxpr(f)(square, square, square).jaxpr
    assert activation_bytes(jaxpr) == 64 * (2 * 5 + 1)
    assert order_of_use(jaxpr, 2) == [1, 0]


@pytest.mark.parametrize("name", ["mlp", "depthwise_separable", "other_layouts", "convolutions", "recurrent", "own_layer"])
def test_gradients_without_grouped_convolutions(float64, name):
    from jknas.kernels.examples import Examples, Setup, layout_of, scalar_of
    from jknas.kernels.tape.one_pass import gradients

    apply, params, x = MODELS[name].made()
    plan = Setup(apply, "logits", "sum", "all", "one_pass", 1)

    def both(params, x):
        leaves, _, scalar = scalar_of(plan, params)
        layout, batch = layout_of(plan, leaves, Examples(x, None), 0)
        return example_gradients(scalar, leaves, range(len(leaves)), batch, layout), gradients(scalar, leaves, batch, layout)

    lowered = jax.jit(lambda params, x: both(params, x)[0]).lower(params, x).as_text()
    if name == "depthwise_separable":  # those of the model itself have four and twelve groups, on both ways
        assert "batch_group_count = 5" not in lowered
    for fast, slow in zip(*jax.jit(both)(params, x), strict=True):
        assert relative_error(fast, slow[:, 0], floor=1e-12) <= tolerances().gram


# Interruptions


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("scheme", ["pairs", "slices"])
def test_a_call_that_was_interrupted_after_any_tile_goes_on_to_the_same_bytes(out, scheme):
    apply, params, x = MODELS["mlp"].made()
    x = wide(apply, params, x, 7)
    options = {"scheme": scheme, "tile": 3, "memory": 40_000}
    whole = tiled_gram(apply, params, x, out=out, **options)
    seen = []

    def stop(done, total, left):
        assert total == 6
        assert left >= 0
        seen.append(done)
        raise StoppedError

    path, resumed = out.with_name("again.npy"), []
    for _ in range(6):
        with pytest.raises(StoppedError):
            tiled_gram(apply, params, x, out=path, progress=stop, **options)
    assert seen == [1, 2, 3, 4, 5, 6]
    last = tiled_gram(apply, params, x, out=path, progress=lambda *numbers: resumed.append(numbers))
    assert (last.resumed, resumed, last.repaired) == (6, [], ())
    assert path.read_bytes() == out.read_bytes()
    assert whole.plan == last.plan


def test_groups_are_added_once_however_the_call_ends(float64, out):
    draw = Draw(0)
    params, x = [draw(20, 20) for _ in range(4)], np.random.default_rng(0).standard_normal((40, 20))

    def apply(p, x):
        for w in p:
            x = jnp.tanh(x @ w)
        return x

    options = {"memory": 80_000, "scheme": "slices"}
    whole = tiled_gram(apply, params, x, out=out, **options)
    assert len(whole.plan.groups) > 1

    def stop(done, total, left):
        if done % 3 == 0:
            raise StoppedError

    path = out.with_name("again.npy")
    for _ in range(300):
        try:
            last = tiled_gram(apply, params, x, out=path, progress=stop, **options)
            break
        except StoppedError:
            continue
    assert last.resumed > 0
    assert path.read_bytes() == out.read_bytes()


def begun(out, count=7, tiles=3, **options):
    """Return the model and inputs of a kernel that was interrupted after some tiles."""
    apply, params, x = MODELS["mlp"].made()
    x = wide(apply, params, x, count)

    def stop(done, total, left):
        if done == tiles:
            raise StoppedError

    with pytest.raises(StoppedError):
        tiled_gram(apply, params, x, out=out, tile=3, progress=stop, **options)
    return apply, params, x


def test_a_damaged_tile_is_computed_again(out):
    apply, params, x = begun(out)
    data = np.lib.format.open_memmap(out, mode="r+")
    data[0, 1] += 1  # in the upper half of the first tile
    data[4, 0] += 1  # in the mirror image of the second
    data.flush()
    kernel = tiled_gram(apply, params, x, out=out)
    assert kernel.repaired == ((0, 0), (0, 1))
    assert kernel.resumed == 1
    assert close(kernel, reference(apply, params, x))


def small_kernel(out, **options):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), jnp.float32)
    return tiled_gram(lambda p, x: jnp.tanh(x @ p), jnp.ones((3, 2)), x, out=out, tile=4, scheme="pairs", **options)


def test_a_resume_that_is_interrupted_while_it_reads_loses_no_tile(out, monkeypatch):
    small_kernel(out)
    done = tile_file.read_journal(out).done
    assert len(done) == 6

    def interrupted(self, tile, crc):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tile_file.TileFile, "_holds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_kernel(out)
    assert tile_file.read_journal(out).done == done
    assert small_kernel(out).resumed == 6


@pytest.mark.parametrize("resume", [True, False])
def test_a_kernel_has_one_writer_at_a_time(out, resume):
    refused = []

    def second(done, total, left):
        with pytest.raises(KernelError, match=r"another process computes .*kernel.npy: wait until it ends, or choose another path"):
            small_kernel(out, resume=resume)
        refused.append(done)

    small_kernel(out, progress=second)
    assert refused == [1, 2, 3, 4, 5, 6]
    assert len(tile_file.read_journal(out).done) == 6


@pytest.mark.parametrize("cut", [1, 4, 11])
def test_a_record_that_was_cut_off_does_not_count(out, cut):
    apply, params, x = begun(out)
    place = tile_file.journal_path(out)
    place.write_bytes(place.read_bytes()[:-cut])
    kernel = tiled_gram(apply, params, x, out=out)
    assert (kernel.resumed, kernel.repaired) == (2, ())
    assert close(kernel, reference(apply, params, x))
    assert tiled_gram(apply, params, x, out=out).resumed == 6  # the next records are whole again


def test_a_matrix_that_is_gone_or_cut_is_begun_anew(out):
    apply, params, x = begun(out)
    out.unlink()
    assert len(tiled_gram(apply, params, x, out=out).repaired) == 3
    out.write_bytes(out.read_bytes()[:100])
    kernel = tiled_gram(apply, params, x, out=out)
    assert len(kernel.repaired) == 6
    assert close(kernel, reference(apply, params, x))


_KILLED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jknas import tiled_gram
rng = np.random.default_rng(0)
params = [jnp.asarray(rng.standard_normal((60, 60)) / 8, jnp.float32) for _ in range(4)]
def apply(p, x):
    for w in p:
        x = jnp.tanh(x @ w)
    return x
x = rng.standard_normal((600, 60)).astype(np.float32)
kernel = tiled_gram(apply, params, x, out=sys.argv[1], tile=12, scheme=sys.argv[2], memory=4 * 10**6)
print(kernel.resumed, len(kernel.repaired), len(kernel.plan.groups), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["pairs", "slices"])
def test_twenty_kills_at_random_moments_leave_the_same_bytes(out, scheme):
    def start(path):
        return subprocess.Popen([sys.executable, "-c", _KILLED, str(path), scheme], stdout=subprocess.PIPE, text=True)

    began = time.perf_counter()
    whole, _ = start(out).communicate(timeout=300)
    took = time.perf_counter() - began
    assert whole.split()[0] == "0"
    path, rng, kills, found = out.with_name("killed.npy"), np.random.default_rng(0), 0, ""
    journal = tile_file.journal_path(path)
    sizes = []
    while kills < 20:
        process = start(path)
        try:
            # Early ones hit the start; later ones come just after new tiles appear.
            before, limit = (journal.stat().st_size if journal.exists() else 0), time.perf_counter() + took * rng.uniform(0.2, 1.0)
            while process.poll() is None and time.perf_counter() < limit:
                if journal.exists() and journal.stat().st_size > before + 200:
                    time.sleep(rng.uniform(0, 0.05))
                    break
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        sizes.append(journal.stat().st_size if journal.exists() else 0)
        kills += 1
    found, _ = start(path).communicate(timeout=300)
    assert path.read_bytes() == out.read_bytes(), found
    assert len(set(sizes)) > 5, sizes  # they did interrupt the work


# Several devices

_FOUR = """
import sys
import jax, jax.numpy as jnp, numpy as np
sys.path.insert(0, sys.argv[2])
from jknas import tiled_gram
from kernel_models import MODELS
assert len(jax.devices()) == 4
jax.config.update("jax_enable_x64", True)
apply, params, x = MODELS[sys.argv[3]].made()
x = np.random.default_rng(0).standard_normal((11, *x.shape[1:]))
for scheme in ("pairs", "slices"):
    options = {"scheme": scheme, "tile": 4, "resume": False}
    a = np.asarray(tiled_gram(apply, params, x, x[:6], out=sys.argv[1], **options))
    options |= {"devices": jax.devices()}
    b = np.asarray(tiled_gram(apply, params, x, x[:6], out=sys.argv[1], **options))
    assert np.abs(a - b).max() <= 1e-12 * np.abs(a).max(), (scheme, np.abs(a - b).max())
    square = np.asarray(tiled_gram(apply, params, x, out=sys.argv[1], **options, memory=int(sys.argv[4])))
    assert np.abs(square[:, :6] - a).max() <= 1e-12 * np.abs(a).max(), scheme
    np.testing.assert_array_equal(square, square.T)
"""


@pytest.mark.parametrize(("name", "memory"), [("mlp", 10_000), pytest.param("group_norm_cnn", 2**31, marks=pytest.mark.slow)])
def test_four_devices_compute_what_one_does(out, name, memory):
    support = str(Path(__file__).parents[1] / "support")
    done = subprocess.run(
        [sys.executable, "-c", _FOUR, str(out), support, name, str(memory)],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_tile_is_a_multiple_of_the_devices(out):
    apply, params, x = MODELS["mlp"].made()
    with pytest.raises(KernelError, match='tile must be "auto" or a positive multiple of the 2 devices, got 3'):
        tiled_gram(apply, params, x, out=out, tile=3, devices=[jax.devices()[0]] * 2)


# Errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "rows"}, "scheme='rows' is not known; choose 'auto', 'pairs' or 'slices'"),
        ({"tile": 0}, 'tile must be "auto" or a positive multiple of the 1 devices, got 0'),
        ({"tile": "big"}, "tile must be .* got 'big'"),
        ({"outputs": "full"}, 'outputs="full" has K x K numbers.*outputs="trace"'),
        ({"outputs": "trac"}, "Unknown outputs 'trac'.*Did you mean 'trace'"),
        ({"outputs": "trace", "objective": "loss", "labels": np.zeros(N, int)}, "outputs='trace' combines the model's outputs"),
        ({"objective": "logit"}, "objective='logit' is not known"),
        ({"objective": "loss"}, r'objective="loss" needs labels \[n\]'),
        ({"objective": "loss", "labels": np.zeros(3, int)}, r"labels must be 5 integers, one per example, got int64\[3\]"),
        ({"x2": np.zeros((0, 5))}, r"x2 must be arrays with one common leading axis"),
        ({"parameters": "biases"}, "parameters='biases' is not known"),
        ({"interaction": "no"}, "Unknown interaction 'no'"),
    ],
)
def test_errors_of_the_arguments(out, change, message):
    apply, params, x = MODELS["mlp"].made()
    with pytest.raises(KernelError, match=message):
        tiled_gram(apply, params, x, out=out, **change)
    assert not out.exists()


def test_examples_that_interact_are_refused(out):
    draw = Draw(0)

    def apply(p, x):
        return (x - x.mean(0, keepdims=True)) @ p

    with pytest.raises(KernelError, match="the examples interact"):
        tiled_gram(apply, draw(4, 3), draw.data(4), out=out)
    ignored = tiled_gram(apply, draw(4, 3), draw.data(4), out=out, interaction="ignore")
    np.testing.assert_array_equal(ignored, np.zeros((N, N)))


def test_a_file_of_another_kernel_is_refused(out):
    apply, params, x = begun(out)
    cases = {
        "params": (apply, {**params, "w1": params["w1"] + 1}, x, {}),
        "x": (apply, params, x + 1, {}),
        "options": (apply, params, x, {"parameters": lambda path: "w" in path}),
        "the model's outputs": (lambda p, x: 2 * apply(p, x), params, x, {}),
        "sides, x2": (apply, params, x, {"x2": x}),
    }
    for name, (model, weights, inputs, options) in cases.items():
        with pytest.raises(KernelError, match=rf"is another kernel: it differs in .*{name.split(', ')[0]}.*resume=False.*or another path"):
            tiled_gram(model, weights, inputs, out=out, **options)
    with pytest.raises(KernelError, match=r"was begun with scheme='\w+', tile=3: pass these or 'auto'"):
        tiled_gram(apply, params, x, out=out, tile=2)
    assert tiled_gram(apply, params, x, out=out).resumed == 3
    other = tiled_gram(apply, params, x + 1, out=out, resume=False)
    assert close(other, reference(apply, params, x + 1))


def test_a_file_without_a_journal_or_with_a_damaged_one_is_refused(out):
    apply, params, x = MODELS["mlp"].made()
    np.save(out, np.zeros(3))
    before = out.read_bytes()
    with pytest.raises(KernelError, match=r"exists without its journal kernel.npy.progress.*resume=False"):
        tiled_gram(apply, params, x, out=out)
    assert out.read_bytes() == before
    for text in ("", "{", "[]\n", json.dumps({"format": 99}) + "\n"):
        tile_file.journal_path(out).write_text(text)
        with pytest.raises(KernelError, match=r"the journal .* cannot be read .*: pass resume=False"):
            tiled_gram(apply, params, x, out=out)
    assert close(tiled_gram(apply, params, x, out=out, resume=False), reference(apply, params, x))


def test_no_space_is_seen_before_and_while_writing(out, monkeypatch):
    apply, params, x = MODELS["mlp"].made()
    usage = shutil.disk_usage(out.parent)
    monkeypatch.setattr(tile_file.shutil, "disk_usage", lambda folder: usage._replace(free=50))
    with pytest.raises(KernelError, match=r"the kernel \[5, 5\] takes 100 bytes more, and .* has 50 free: free space"):
        tiled_gram(apply, params, x, out=out)
    assert not out.exists()
    monkeypatch.undo()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tile_file.os, "pwrite", full)
    with pytest.raises(KernelError, match=r"no space left for .*kernel.npy: free space and call again; the finished tiles are kept"):
        tiled_gram(apply, params, x, out=out, tile=2)
    monkeypatch.setattr(tile_file.os, "pwrite", lambda file, data, at: 1)  # a short write
    with pytest.raises(KernelError, match="no space left"):
        tiled_gram(apply, params, x, out=out, tile=2)
    monkeypatch.undo()
    assert close(tiled_gram(apply, params, x, out=out), reference(apply, params, x))


def test_a_folder_that_cannot_be_written(tmp_path):
    apply, params, x = MODELS["mlp"].made()
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match=r"cannot write .*choose a path in a writable folder"):
        tiled_gram(apply, params, x, out=tmp_path / "file" / "kernel.npy")


def test_out_of_memory_says_what_to_lower(out):
    side = 2**22  # a square of them has 64 TiB

    def apply(p, x):
        a = jnp.outer(jnp.tile(x[0] * p, side // 4), jnp.tile(p, side // 4))
        return (jnp.fft.fft(a).real.sum() + x.sum())[None]

    draw = Draw(0)
    with pytest.raises(KernelError, match=r"out of memory \(.*\): lower memory= or tile="):
        tiled_gram(apply, draw(4), draw.data(4), out=out, tile=1, scheme="slices", memory=2**60, interaction="ignore")
