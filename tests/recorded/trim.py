"""Make the files of this folder from the full recordings: ``PYTHONPATH=tests/support python tests/recorded/trim.py FULL_FOLDER``.

Keeps what some test reads. Weights at PyTorch's default initialisation give way to their seed, and images to their bytes, after a check
that both come back bit for bit. README.md lists what is kept, and what is dropped and why.
"""

import fnmatch
import hashlib
import itertools
import pathlib
import sys

import numpy as np
from recordings import normalised
from torch_draws import default_state

HERE = pathlib.Path(__file__).parent
SEEDS = {"Z_zcnas_own_g00_allconv3": 91, "Z_zcnas_own_g06_mix5ops": 91, "_tenas_supernet_C3N1": 31}
"""Seeds that the full recordings do not name; they were found by trying."""
KEPT = (
    *("genotype", "meta/C", "meta/N", "meta/num_classes", "y", "sd_order", "param_order", "logits_eval/f64", "logits_train/f64"),
    *("sd_after1train/*running_*", "ntk_*/*_f64", "knas/names", "knas/official_f64", "knas/components_f64", "eq15_*", "naswot/*_f64"),
    *("zc/*_f64", "lrc/count_*", "lrc/n_neuron", "lrc/unique_rows_f64", "lrc/bits_f64"),
    *("lrc_sd/arch_parameters", "lrc_sd/cells*", "lrc_sd/lastact*", "lrc_sd/classifier*"),
)
OTHERS = {
    "Z": ("genotype", "y", "logits_train", "zc/*"),
    "_knas50": ("y",),
    "_lrc_inputs": ("inputs_nchw",),
    "_tenas_supernet_C3N1": ("y", "*/alphas", "*_f64", "*/gram_f32"),
    "text_minilm": (
        *("labels", "input_ids", "token_type_ids", "attention_mask", "emb_*_f64", "layer1_*_f64", "last_*_f64", "logits_f64", "grad_names"),
        *("grad_norms_f64", "mgm_ce_f64", "mgm_by_group_*", "gram_ce_f64", "gram_sumlogits_f64", "skip_*"),
    ),
    "text_roberta_tiny": (
        *("input_ids", "attention_mask", "labels", "sd/roberta.*", "sd/classifier.*", "hidden_f64", "logits_f64", "grad/*"),
        *("mgm_ce_f64", "gram_ce_f64"),
    ),
    "_tenas_thin_supernet": ("*/alphas", "*/count_*", "*/n_neuron", "*/bits_f64", "sd/cells*", "sd/lastact*", "sd/classifier*"),
}


def kept(full, patterns):
    names = {name for pattern in patterns for name in fnmatch.filter(full, pattern)}
    return {name: full[name] for name in full if name in names and not name.endswith("num_batches_tracked")}


def zero_cost_shapes(channels, cells):
    """List the tensors of zero-cost-nas's own network as it builds them: all five operations on each edge, and biases in the cells."""
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes = {"stem.net.0.weight": (channels, 3, 3, 3)} | {f"stem.net.1.{kind}": (channels,) for kind in norm}
    for stage in (1, 2, 3):
        width = channels * 2 ** (stage - 1)
        if stage > 1:
            shapes[f"reduction{stage - 1}.residual.1.weight"] = (width, width // 2, 1, 1)
            for part, width_in in (("conv_a", width // 2), ("conv_b", width)):
                shapes[f"reduction{stage - 1}.{part}.op.1.weight"] = (width, width_in, 3, 3)
                shapes |= {f"reduction{stage - 1}.{part}.op.2.{kind}": (width,) for kind in norm}
        for cell, edge, (option, size) in itertools.product(range(cells), range(6), ((2, 3), (3, 1))):
            name = f"stack_cell{stage}.{cell}.options.{5 * edge + option}.op.1"
            shapes |= {f"{name}.weight": (width, width, size, size), f"{name}.bias": (width,)}
    shapes |= {f"top.lastact.0.{kind}": (4 * channels,) for kind in norm}
    return shapes | {"top.classifier.weight": (10, 4 * channels), "top.classifier.bias": (10,)}


def seeded(name, full):
    """Return the seed, the shapes to draw, a digest, and the tensors that are not the drawn ones."""
    state = {key.removeprefix("sd/"): full[key] for key in full if key.startswith("sd/") and not key.endswith("num_batches_tracked")}
    shapes = zero_cost_shapes(16, 5) if name.startswith("Z") else {key: value.shape for key, value in state.items()}
    seed = SEEDS.get(name, full.get("meta/seed"))
    drawn = default_state(int(seed), shapes)
    changed = {key: value for key, value in state.items() if not np.array_equal(drawn[key], value)}
    assert all(value.ndim == 1 for value in changed.values()), name
    text = [f"{key} {','.join(map(str, shape))}" for key, shape in shapes.items()]
    digest = hashlib.sha256(b"".join((drawn | changed)[key].tobytes() for key in shapes)).hexdigest()
    return {"meta/seed": np.int64(seed), "sd_shapes": np.array(text), "sd_sha256": np.array(digest)} | {
        f"sd/{key}": value for key, value in changed.items()
    }


def main(source):
    for path in sorted(source.glob("*.npz")):
        name = path.stem
        full = dict(np.load(path))
        if name.startswith("ws_"):  # all of it is compared
            np.savez_compressed(HERE / path.name, **full)
            continue
        patterns = OTHERS.get(name, OTHERS.get(name[0], KEPT))
        small = kept(full, patterns)
        if "x_nhwc" in full:
            x = full["x_nhwc"].astype(np.float64)
            small["u8_nhwc"] = np.rint(x * [63.0, 62.1, 66.7] + [125.3, 123.0, 113.9]).astype(np.uint8)
            assert np.array_equal(normalised(small["u8_nhwc"]), full["x_nhwc"]), name
        if name[0] in "ABZ" or name in SEEDS:
            small |= seeded(name, full)
        if name[0] in "AB":
            small["naswot/K_f64"] = full["naswot/K_f64"].astype(np.int32)
            small["knas/trunc_grads_f32"] = full["knas/trunc_grads_f64"].astype(np.float32)
            small["knas/last_example_f64"] = full["knas/trunc_grads_f64"][:, -1]
        if name[0] == "A":
            small |= kept(full, ("ntk_*/gram_f32", "ntk_*/cond_f32"))
        np.savez_compressed(HERE / path.name, **small)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
