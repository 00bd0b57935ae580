"""A BERT encoder with a classifier in plain PyTorch, for comparisons of speed and of trainings."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from jknas.networks.skip_transformer import SkipTransformerNetwork


class Layer(nn.Module):
    """One layer; attention by PyTorch's own fused function."""

    def __init__(self, hidden: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.query, self.key, self.value, self.output = (nn.Linear(hidden, hidden) for _ in range(4))
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.attention_norm, self.output_norm = (nn.LayerNorm(hidden, eps=1e-12) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states after the layer."""
        n, t, hidden = x.shape
        query, key, value = (
            part(x).view(n, t, self.heads, hidden // self.heads).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        rate = self.rate if self.training else 0.0
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        y = self.attention_norm(x + self.drop(self.output(context.transpose(1, 2).reshape(n, t, hidden))))
        return self.output_norm(y + self.drop(self.down(functional.gelu(self.up(y)))))


class Encoder(nn.Module):
    """The encoder of a :class:`SkipTransformerNetwork` of the stem ``bert``, wired plainly, with its classifier."""

    def __init__(self, network: SkipTransformerNetwork, dropout: float) -> None:
        super().__init__()
        hidden = network.channels
        self.words = nn.Embedding(network.input_channels, hidden)
        self.positions = nn.Embedding(network.positions, hidden)
        self.types = nn.Embedding(2, hidden)
        self.norm, self.drop = nn.LayerNorm(hidden, eps=1e-12), nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(hidden, network.heads, network.feed_forward, dropout) for _ in range(network.cells))
        self.head_dense, self.head_output = nn.Linear(hidden, hidden), nn.Linear(hidden, network.classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of sequences ``[n, 3, t]``."""
        ids, types, mask = tokens[:, 0], tokens[:, 1], tokens[:, 2]
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1]))[None] + self.types(types)
        x = self.drop(self.norm(x))
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :].bool())
        return self.head_output(self.drop(torch.tanh(self.head_dense(self.drop(x[:, 0])))))


def load(encoder: Encoder, params: Any) -> Encoder:
    """Copy the parameters of the network into the encoder, and return it."""
    inner = params["encoder"]
    with torch.no_grad():
        for name in ("word", "position", "type"):
            getattr(encoder, f"{name}s").weight.copy_(torch.tensor(inner["embeddings"][name]["embedding"].__array__()))
        _norm(encoder.norm, inner["embeddings"]["norm"])
        for number, layer in enumerate(encoder.layers):
            tree = inner[f"layer_{number}"]
            for name in ("query", "key", "value", "output", "up", "down"):
                _linear(getattr(layer, name), tree[name])
            for name in ("attention_norm", "output_norm"):
                _norm(getattr(layer, name), tree[name])
        for name in ("head_dense", "head_output"):
            _linear(getattr(encoder, name), params[name])
    return encoder


def _linear(layer: nn.Linear, tree: Any) -> None:
    layer.weight.copy_(torch.tensor(tree["kernel"].__array__()).T)
    layer.bias.copy_(torch.tensor(tree["bias"].__array__()))


def _norm(layer: nn.LayerNorm, tree: Any) -> None:
    layer.weight.copy_(torch.tensor(tree["scale"].__array__()))
    layer.bias.copy_(torch.tensor(tree["bias"].__array__()))
