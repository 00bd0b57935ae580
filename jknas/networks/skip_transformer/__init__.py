"""Networks of the skip-connection encoders."""

from jknas.networks.skip_transformer.network import SkipTransformerNetwork

__all__ = ["SkipTransformerNetwork"]
