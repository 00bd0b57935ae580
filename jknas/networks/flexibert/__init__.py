"""Networks of the FlexiBERT encoders, as trained."""

from jknas.networks.flexibert.network import FlexibertNetwork

__all__ = ["FlexibertNetwork"]
