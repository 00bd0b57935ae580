"""TE-NAS: prune a supernet down to one cell."""
