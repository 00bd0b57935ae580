"""The library neural-tangents as a cross-check: its import on a current JAX, and its empirical kernel."""
