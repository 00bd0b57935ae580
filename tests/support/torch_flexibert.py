"""FlexiBERT's encoders as trained, in plain PyTorch, from the parameters of all alternatives: slow and obvious, one head at a time."""

import math

import torch
from torch.nn import functional


def tensors(tree):
    """Return a tree of arrays as tensors that collect gradients."""
    if isinstance(tree, dict):
        return {name: tensors(value) for name, value in tree.items()}
    return torch.tensor(tree.tolist(), dtype=torch.float64, requires_grad=True)


def gradients(tree):
    """Return the gradients in the structure of the tree; zeros for what was not used."""
    if isinstance(tree, dict):
        return {name: gradients(value) for name, value in tree.items()}
    return (torch.zeros_like(tree) if tree.grad is None else tree.grad).numpy()


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def norm(params, x):
    return functional.layer_norm(x, x.shape[-1:], params["scale"], params["bias"], 1e-12)


def attention(params, x, mask, heads):
    query, key, value = (dense(params[name], x) for name in ("query", "key", "value"))
    width = x.shape[-1] // heads
    found = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        logits = query[..., own] @ key[..., own].transpose(1, 2) / math.sqrt(width) + (1 - mask[:, None, :]) * -10_000
        found.append(torch.softmax(logits, -1) @ value[..., own])
    return norm(params["attention_norm"], x + dense(params["output"], torch.cat(found, -1)))


def layer(params, x, mask, declared):
    y = attention(params, x, mask, declared.heads)
    a, block = functional.gelu(dense(params["up"], y)), params["feed_forward"]
    name = "shallow"
    if declared.feed_forwards == 3:
        name = f"deep{declared.feed_forward}"
        a = functional.gelu(dense(block[f"{name}_2"], a))
        a = functional.gelu(dense(block[f"{name}_3"], a))
    return norm(params["output_norm"], y + dense(block[f"{name}_down"], a))


def logits(params, tokens, genotype):
    """Return the logits of sequences, ids, types and masks as int64."""
    ids, types, mask = tokens[:, 0], tokens[:, 1], tokens[:, 2].to(torch.float64)
    embeddings, name = params["encoder"]["embeddings"], "narrow" if genotype.hidden == 128 else "wide"
    x = embeddings["word"]["embedding"][ids] + embeddings["type"]["embedding"][types]
    x = norm(embeddings["norm"], x + embeddings["position"]["embedding"][: ids.shape[1]])
    own = params["encoder"][name]
    if genotype.hidden == 256:
        x = dense(own["projection"], x)
    for number, declared in enumerate(genotype.layers):
        x = layer(own[f"layer_{number}"], x, mask, declared)
    return dense(params["head"][name], x[:, 0])
