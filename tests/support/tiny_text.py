"""A folder with a random encoder and a tokenizer, as Hugging Face writes it, and sentence pairs to go with it."""

import json

import numpy as np

from jknas.spaces.skip_transformer import FAMILIES, skip_space

SPACE = skip_space(layers=3, families=FAMILIES)
"""Three wirings of few layers, which compile fast."""

WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "in",
    "mat",
    "house",
    "big",
    "small",
    "red",
    "blue",
    "it",
    "is",
    "was",
    "not",
    "and",
    ".",
)
CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 5 + len(WORDS),
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def tensors(config=None, *, prefix="bert.", seed=0):
    """The tensors of a random encoder under the names of Hugging Face, with two that a loader has to leave out."""
    config = CONFIG if config is None else config
    rng, h, f = np.random.default_rng(seed), config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], h),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], h),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], h),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        linear = {f"attention.self.{part}": (h, h) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (h, h), "intermediate.dense": (f, h), "output.dense": (h, f)}
        for part, shape in linear.items():
            shapes |= {f"{name}{part}.weight": shape, f"{name}{part}.bias": shape[:1]}
        norms += [f"{name}attention.output.LayerNorm", f"{name}output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (h,), f"{norm}.bias": (h,)}
    found = {prefix + name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in norms:
        found[f"{prefix}{norm}.weight"] += 1
    return found | {f"{prefix}pooler.dense.weight": np.zeros((h, h), np.float32), "cls.predictions.bias": np.zeros(3, np.float32)}


def write_weights(folder, config=None, **more):
    """Write ``config.json`` and ``model.safetensors``."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    save_file(more.pop("state", None) or tensors(config, **more), folder / "model.safetensors")
    return folder


def write_tokenizer(folder):
    """Write the ``tokenizer.json`` of a BERT whose vocabulary is :data:`WORDS`, with padding and truncation switched on."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    backend = Tokenizer(models.WordPiece({word: number for number, word in enumerate((*specials, *WORDS))}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_padding(length=30)
    backend.enable_truncation(4)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    return folder


def write_pairs(folder, *, train=40, dev=16, test=12, seed=0, columns=("sentence1", "sentence2", "label"), labels=("same", "other")):
    """Write sentence pairs in which the second sentence either repeats the first or is another one."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("dev", dev), ("test", test)):
        if not count:
            continue
        lines = ["\t".join(columns)]
        for number in range(count):
            first, other = (" ".join(rng.choice(WORDS[:-1], rng.integers(3, 7))) + " ." for _ in range(2))
            lines.append("\t".join((first, first if number % 2 else other, labels[number % 2 == 0])))
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder
