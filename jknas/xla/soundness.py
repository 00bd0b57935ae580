"""A guard against backends that compute wrong matrix products.

jaxlib 0.10.2 miscompiles fused matrix products on CPU under ``jit``: Gram matrices are silently wrong by tens of per cent. The package
excludes that release, but an environment may still contain it, or a later release with the same fault. So the first kernel of a process
checks two known cases and raises an error if one fails.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import UnsoundBackendError


def _fused_gram(a: jax.Array, b: jax.Array) -> jax.Array:
    m = a.reshape(a.shape[0], -1, 8).mean(1)
    ones = jnp.ones((a.shape[0], 1), a.dtype)
    return (m @ m.T) * (ones @ ones.T) + b @ b.T


def _row_norms(rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: jnp.sum((jnp.eye(3, dtype=rows.dtype) @ row) ** 2))(rows)


def faults() -> list[str]:
    """Run the known cases on the default backend and describe every wrong result; compiles three small programs."""
    found = []
    generator = np.random.default_rng(0)
    for n in (64, 128):
        a, b = generator.standard_normal((n, 64)).astype(np.float32), generator.standard_normal((n, 16)).astype(np.float32)
        m = a.reshape(n, -1, 8).mean(1, dtype=np.float64)
        expected = m @ m.T + b.astype(np.float64) @ b.astype(np.float64).T
        with jax.default_matmul_precision("highest"):
            error = np.linalg.norm(np.asarray(jax.jit(_fused_gram)(a, b)) - expected) / np.linalg.norm(expected)
        if not error < 1e-4:
            found.append(f"a {n} x {n} Gram matrix has a relative error of {error:.1e}")
    # The fault hits the last rows just after a power of two; the size is from https://github.com/jax-ml/jax/issues/39103 in float32.
    rows = np.zeros((32769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))
    expected = rows[:, 0].astype(np.float64) ** 2
    with jax.default_matmul_precision("highest"):
        error = np.max(np.abs(np.asarray(jax.jit(_row_norms)(rows)) - expected) / np.maximum(expected, 1))
    if not error < 1e-4:
        found.append(f"squared norms of {len(rows)} rows have a relative error of {error:.1e}")
    return found


@functools.cache
def require_sound_backend() -> None:
    """Check the CPU backend once per process, in a fraction of a second; other backends need no check.

    Raises:
        UnsoundBackendError: a known case came out wrong. The message says which, and what to do.
    """
    if jax.default_backend() != "cpu":
        return
    with jax.ensure_compile_time_eval():  # the first kernel of a process may be inside a jit
        found = faults()
    if found:
        raise UnsoundBackendError(
            f"JAX {jax.__version__} computes wrong matrix products on this CPU: {'; '.join(found)}. Kernels would be silently wrong. "
            "Install another release (0.10.2 is known to be faulty), or set XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= "
            "(empty value) before JAX starts."
        )
