"""The library neural-tangents as a second opinion: its import on a current JAX, and its empirical kernel."""
