"""Compilation for tests whose programs run once on tiny arrays: the compiler's own optimisation would be nearly all of their time."""

import functools

import jax

_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
if jax.__version_info__ < (0, 11):  # later releases know no other way
    _OPTIONS["xla_cpu_use_fusion_emitters"] = False  # they go through MLIR, which takes two thirds of what is left

quick_jit = functools.partial(jax.jit, compiler_options=_OPTIONS)
"""``jax.jit`` that generates code fast instead of fast code.

What the compiler makes of a program is no part of what such a test proves; the recorded numbers, the scorer and the training programs are
tested as they are compiled for users.
"""
