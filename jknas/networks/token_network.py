"""What the networks on token sequences have in common, whatever their encoder is."""

from typing import Any, ClassVar

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import JknasError, NetworkError
from jknas.networks.layers.transformer import Tokens


class TokenNetwork:
    """A base of networks that read token sequences: they have layer normalisation, and no running averages.

    A network gives :attr:`longest` and :meth:`_run`.
    """

    recipe: ClassVar[str] = "glue"
    inputs: ClassVar[str] = "tokens"
    has_dropout: ClassVar[bool] = True

    @property
    def longest(self) -> int:
        """The most tokens in a sequence."""
        raise NotImplementedError

    def _run(self, params: PyTree, x: Array, wiring: Any, *, key: PRNGKeyArray | None = None, dropout: float = 0.0) -> Float[Array, "n k"]:
        """Return the logits; dropout needs a key."""
        raise NotImplementedError

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
        return self._run(params, x, wiring)

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
        return self._run(params, x, wiring, key=key, dropout=dropout), None, batch_stats
