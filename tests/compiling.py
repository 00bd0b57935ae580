"""Compilation for tests whose programs run once on tiny arrays: the compiler's own optimisation would be nearly all of their time."""

import functools

import jax

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})
"""``jax.jit`` that generates code fast instead of fast code."""
