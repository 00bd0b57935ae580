"""Search by pruning a supernet."""

from jknas.search.pruning.tenas import TeNas

__all__ = ["TeNas"]
