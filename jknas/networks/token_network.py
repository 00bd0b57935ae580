"""What the networks on token sequences have in common, whatever their encoder is."""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import JknasError, NetworkError
from jknas.networks.layers.transformer import Tokens


class TokenNetwork:
    """A base of networks that read token sequences: they have layer normalisation, and no running averages.

    A network gives :attr:`longest`, :meth:`_classifier` and :meth:`_read`.
    """

    recipe: ClassVar[str] = "glue"
    inputs: ClassVar[str] = "tokens"
    has_dropout: ClassVar[bool] = True

    @property
    def longest(self) -> int:
        """The most tokens in a sequence."""
        raise NotImplementedError

    def _classifier(self, dropout: float = 0.0) -> nn.Module:
        """Return the encoder with a classifier, called as ``module(tokens, read)``."""
        raise NotImplementedError

    def _read(self, wiring: Any) -> Any:
        """Return what the classifier takes for a wiring, or refuse the wiring."""
        raise NotImplementedError

    def module(self, genotype: Any) -> nn.Module:
        """Return the network of one genotype as a Flax module, called as ``module(tokens)``."""
        self._read(genotype)
        return _OfGenotype(self, genotype)

    def check_inputs(self, length: int, name: str, *, error: type[JknasError] = NetworkError) -> None:
        """Raise unless the encoder has positions for sequences of this many tokens."""
        if length > self.longest:
            raise error(f"{name} has sequences of {length} tokens; the encoder takes at most {self.longest}: cut them with --resolution.")

    def _check_tokens(self, x: Array) -> None:
        if x.ndim != 3 or x.shape[1] != 3:
            raise NetworkError(
                f"sequences are [n, 3, t], of ids, types and mask, got {tuple(x.shape)}: make them with a data set of texts."
            )
        self.check_inputs(x.shape[2], "the batch")

    def _run(self, classifier: nn.Module, params: PyTree, x: Array, wiring: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, "n k"]:
        self._check_tokens(x)
        rngs = None if key is None else {"dropout": key}
        logits: Any = classifier.apply({"params": params}, x, self._read(wiring), rngs=rngs)
        return logits

    def apply(
        self, params: PyTree, x: Tokens, wiring: Any, *, statistics: str = "example", batch_stats: PyTree | None = None
    ) -> Float[Array, "n k"]:
        """Compute the logits in evaluation mode, without dropout.

        Args:
            params: parameters from ``init``.
            x: sequences, as ids, types and mask.
            wiring: a genotype of the network's space, or its code.
            statistics: not used: layer normalisation does not couple examples, nor tell training from evaluation.
            batch_stats: not used.

        Raises:
            NetworkError: no wiring of this network, or sequences of another form or too long.
            TypeError: the wiring is a string.
        """
        del statistics, batch_stats
        return self._run(self._classifier(), params, x, wiring)

    def train_apply(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Tokens,
        wiring: Any,
        *,
        key: PRNGKeyArray | None = None,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> tuple[Float[Array, "n k"], None, PyTree]:
        """Return the logits in training mode, None (there is no auxiliary classifier), and the running averages, of which there are none.

        Args:
            params: parameters from ``init``.
            batch_stats: returned.
            x: as for :meth:`apply`.
            wiring: as for :meth:`apply`.
            key: of the dropout.
            drop_path: not used.
            dropout: probability of dropout, everywhere; above 0 it needs a key.
        """
        del drop_path
        return self._run(self._classifier(dropout), params, x, wiring, key=key), None, batch_stats


class _OfGenotype(nn.Module):
    """The network of one genotype."""

    network: TokenNetwork
    genotype: Any

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "n k"]:
        """Return the logits."""
        classifier = self.network._classifier()
        nn.share_scope(self, classifier)
        logits: Any = classifier(tokens, self.network._read(self.genotype))
        return logits
