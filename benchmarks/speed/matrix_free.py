"""What do eigenvalues, trace and log-determinant of a kernel of ten thousand examples cost, without the matrix?

Question: ``jknas.ntk_operator`` of a perceptron (3072-512-512-10, 1.8 M parameters) on N images, float32, summed outputs:
    eigenvalues    the ten largest, by ``scipy.sparse.linalg.eigsh``
    trace          Hutchinson's estimate from 16 probes, beside the exact one of ``jknas.gram_diagonal``
    logdet         log det (K + ridge I) by stochastic Lanczos quadrature, 8 probes of 30 steps, ridge = 1e-3 of the largest eigenvalue
with the seconds of each and the peak resident memory of the process. At the smaller N the same three come from the exact matrix
(``jknas.gram``), too.
Wanted: eigenvalues within 1e-4 of the exact ones at N = 2,000; estimates within three of their standard errors.
Command: python -m benchmarks.speed.matrix_free [--examples 2000 10000] [--data PATH.npz]
Without --data the images are standard normal. About twenty minutes on one CPU core, nearly all of it the log-determinant of 10,000.
"""

import argparse
import pathlib
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import eigsh

from benchmarks import measure
from benchmarks.speed.tiled_gram import images
from jknas import gram, gram_diagonal, ntk_operator
from jknas.kernels.operator import logdet_estimate, trace_estimate

WIDTHS = (3072, 512, 512, 10)
EXACT = 3000  # above so many examples the matrix is not formed
RIDGE = 1e-3  # of the largest eigenvalue


def apply(params: list[Any], x: jax.Array) -> jax.Array:
    """Return the logits of a perceptron."""
    x = x.reshape(len(x), -1)
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias[None])
    weight, bias = params[-1]
    return x @ weight + bias[None]


def drawn() -> list[Any]:
    """Return weights of variance two over the fan-in, and no biases."""
    keys = jax.random.split(jax.random.key(0), len(WIDTHS) - 1)
    sizes = zip(keys, WIDTHS, WIDTHS[1:], strict=False)
    return [(jax.random.normal(key, (n, m)) * (2 / n) ** 0.5, jnp.zeros(m)) for key, n, m in sizes]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    found = function()
    return found, time.perf_counter() - start


def measured(n: int, data: str | None) -> dict[str, Any]:
    """Return estimates, seconds and memory for one number of examples."""
    x, params = jnp.asarray(images(n, data)), drawn()
    operator = ntk_operator(apply, params, x)
    vector = np.ones(n)
    operator @ vector  # compiles
    _, product = timed(lambda: operator @ vector)
    eigenvalues, eigen_seconds = timed(lambda: np.sort(eigsh(operator, 10, return_eigenvectors=False))[::-1])
    ridge = RIDGE * float(eigenvalues[0])
    diagonal, diagonal_seconds = timed(lambda: float(np.asarray(gram_diagonal(apply, params, x, chunk_size=500), np.float64).sum()))
    trace, trace_seconds = timed(lambda: trace_estimate(operator))
    logdet, logdet_seconds = timed(lambda: logdet_estimate(operator, ridge=ridge, probes=8, steps=30))
    found = {
        "examples": n,
        "product_seconds": product,
        "eigenvalues": {"values": eigenvalues.tolist(), "seconds": eigen_seconds},
        "trace": {"estimate": list(trace), "exact": diagonal, "seconds": trace_seconds, "exact_seconds": diagonal_seconds},
        "logdet": {"estimate": list(logdet), "ridge": ridge, "seconds": logdet_seconds},
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if n <= EXACT:
        matrix, seconds = timed(lambda: np.asarray(gram(apply, params, x, chunk_size=500), np.float64))
        every = np.linalg.eigvalsh(matrix)
        found["exact"] = {
            "gram_seconds": seconds,
            "largest_relative_difference_of_eigenvalues": float(np.abs(eigenvalues / every[::-1][:10] - 1).max()),
            "trace": float(np.trace(matrix)),
            "logdet": float(np.linalg.slogdet(matrix + ridge * np.eye(n))[1]),
        }
    return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[2000, 10000])
    parser.add_argument("--data")
    options = parser.parse_args()
    runs = measure.recorded("speed/matrix_free").get("runs", {})
    for n in options.examples:
        runs[f"N={n}"] = {"data": pathlib.Path(options.data).name if options.data else "standard normal"} | measured(n, options.data)
        print(runs[f"N={n}"], flush=True)
        measure.record(
            "speed/matrix_free",
            {
                "question": "eigenvalues, trace and log-determinant without the matrix",
                "widths": list(WIDTHS),
                "runs": runs,
                "gpu": "not measured",
            },
        )


if __name__ == "__main__":
    main()
