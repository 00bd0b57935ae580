r"""The empirical neural tangent kernel as a linear operator: products with vectors, and no matrix.

.. math:: K v = J (J^T v), \qquad J_i = \frac{\partial y_i}{\partial w}

One backward pass gives :math:`u = J^T v`, summed over chunks of examples; one forward derivative per chunk gives :math:`J u`. Memory holds
the activations of one chunk and one gradient, whatever the number of examples is. Every example is seen alone, as in
:mod:`jknas.kernels.gram`, so the operator is that function's matrix.

It is a ``scipy.sparse.linalg.LinearOperator``: ``eigsh`` finds its largest eigenvalues, ``cg`` solves with it. :func:`trace_estimate` and
:func:`logdet_estimate` are stochastic and return their standard error.

References: Novak, Sohl-Dickstein, Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022, arXiv:2206.08720 (NTK-vector
products); Hutchinson, "A stochastic estimator of the trace of the influence matrix", Communications in Statistics 19(2), 1990; Ubaru, Chen,
Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38(4), 2017.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from jknas.errors import KernelError
from jknas.kernels.chunks import chunks, count_examples
from jknas.kernels.examples import Examples, Interaction, Outputs, Setup, alone, checked_result, prepared
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names, per_example, split_parameters
from jknas.kernels.tape.sketching import widest
from jknas.kernels.taylor import pull_and_push
from jknas.xla.programs import PROGRAMS

CHUNK_SIZE = 256
"""Examples at once, unless the caller says otherwise."""

COLUMNS = 4
"""Vectors at once in a product with a matrix; they share the forward pass."""


class Estimate(NamedTuple):
    """A stochastic estimate.

    Attributes:
        value: the mean over the probes.
        error: its standard error, the probes' standard deviation divided by the square root of their number.
    """

    value: float
    error: float


class NTKOperator(LinearOperator):
    """The kernel as a symmetric ``LinearOperator``; made by :func:`ntk_operator`.

    Attributes:
        shape: ``[n, n]``, for ``outputs="full"`` ``[n * k, n * k]``, examples first.
        dtype: of the kernel.
        parameters: paths of the parameters that are differentiated.
    """

    def __init__(self, plan: Setup, params: PyTree, examples: Examples, chunk_size: int) -> None:
        leaves, _ = split_parameters(params, plan.parameters)
        n = count_examples(examples)
        self.parameters = tuple(chosen_names(params, plan.parameters))
        self._plan, self._params = plan, params
        self._examples, self._chunks, self._size = n, chunks(examples, min(chunk_size, n)), min(chunk_size, n)
        super().__init__(np.dtype(widest([jnp.result_type(leaf) for leaf in leaves])), (n * plan.rows_each,) * 2)

    def _matmat(self, vectors: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(vectors):
            raise KernelError("the kernel is real: multiply it with the real and the imaginary part of a vector one after the other")
        count = vectors.shape[1]
        if count == 1:
            return self._product(vectors)
        found = np.empty(vectors.shape, self.dtype)
        for start in range(0, count, COLUMNS):
            part = vectors[:, start : start + COLUMNS]
            filled = np.pad(part, ((0, 0), (0, min(COLUMNS, count) - part.shape[1])))  # one program serves all parts
            found[:, start : start + COLUMNS] = self._product(filled)[:, : part.shape[1]]
        return found

    def _adjoint(self) -> "NTKOperator":
        return self

    _transpose = _adjoint

    def _product(self, vectors: np.ndarray) -> np.ndarray:
        each, columns = self._plan.rows_each, range(vectors.shape[1])
        padding = len(self._chunks) * self._size - self._examples
        padded = np.pad(vectors.astype(self.dtype).reshape(self._examples, each, -1), ((0, padding), (0, 0), (0, 0)))
        parts = padded.reshape(len(self._chunks), self._size, each, -1)  # the filling examples count zero
        pull, push = (PROGRAMS.jitted(function, self._plan) for function in (_pull, _push))
        totals = None
        for (chunk, _), part in zip(self._chunks, parts, strict=True):
            totals = pull(self._params, chunk, [part[..., column] for column in columns], totals)
        found = [np.stack(jax.device_get(push(self._params, chunk, totals)), -1) for chunk, _ in self._chunks]
        return np.concatenate(found)[: self._examples].reshape(vectors.shape)


def ntk_operator(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    *,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    outputs: Outputs = "sum",
    parameters: Parameters = "all",
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> NTKOperator:
    r"""Return the empirical neural tangent kernel of ``x`` as a linear operator.

    Cost: a product with a vector takes 1.3 to 1.7 training steps over the examples (K times that for ``outputs="trace"``); of the vectors
    of a matrix, four at once share the forward pass. Memory holds the activations of one chunk, two gradients of the parameters (times
    the vectors at once), and the examples. Three programs are compiled for all chunks. Measured for 10,000 images of 16 x 16 pixels and a
    network of three convolutions on two cores, in seconds of processor time: a product 1.9, against 1.2 for the training steps; the ten
    largest eigenvalues 78; :func:`trace_estimate` with 16 probes 23; 0.6 GiB of memory in all.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]`` (or ``[n]``): any JAX function with a reverse rule.
        params: any pytree of arrays. Only real floating-point leaves are differentiated.
        x: inputs, a pytree of arrays ``[n, ...]``.
        objective: ``"logits"`` (the outputs) or ``"loss"`` (each example's cross-entropy).
        labels: class indices ``[n]``, needed by ``"loss"``.
        outputs: how the K outputs of an example are combined; other than ``"sum"`` only with ``objective="logits"``. ``"full"`` gives the
            kernel of all ``n * k`` outputs, those of one example side by side.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        chunk_size: examples processed at once, by default 256; less takes less memory, and the time is the same while a chunk keeps the
            device busy.
        interaction: ``"refuse"`` raises an error if examples change each other's outputs, see :func:`jknas.gram`; ``"ignore"`` does not
            compare.

    Returns:
        The operator. Vectors are converted to the kernel's dtype, the widest of the parameters', at least float32; products are in it, and
        accumulated at the highest matrix product precision.

    Raises:
        KernelError: an unknown name, shapes that do not fit, missing labels, nothing to differentiate, or examples that interact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    Examples: the ten largest eigenvalues are ``scipy.sparse.linalg.eigsh(operator, 10)[0]``. A ridge is an operator, too:
    ``operator + ridge * scipy.sparse.linalg.aslinearoperator(scipy.sparse.eye_array(n))``.

    >>> import jax.numpy as jnp
    >>> x, w = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.ones((2, 1))
    >>> (ntk_operator(lambda w, x: x @ w, w, x) @ [1.0, 1.0]).tolist()  # the kernel is [[5, 1], [1, 10]]
    [6.0, 11.0]
    """
    plan = Setup(apply, objective, outputs, parameters, "operator")
    plan, examples = prepared(plan, params, x, labels, chunk_size=chunk_size, interaction=interaction)
    return NTKOperator(plan, params, examples, chunk_size or CHUNK_SIZE)


def _outputs(plan: Setup, params: PyTree, examples: Examples) -> tuple[Any, Any, Any]:
    """Return the outputs ``[n, r]`` of the examples, each alone, and both products with their Jacobian."""
    leaves, rebuild = split_parameters(params, plan.parameters)

    def one(leaves: list[jax.Array], example: Examples) -> jax.Array:
        result = checked_result(alone(plan.apply, rebuild(leaves), example.x))
        if plan.outputs != "sum":
            return result.reshape(-1)
        return per_example(result, None if example.labels is None else example.labels[None], objective=plan.objective)

    return pull_and_push(lambda leaves: jax.vmap(one, (None, 0))(leaves, examples), [jnp.asarray(leaf) for leaf in leaves])


def _pull(plan: Setup, params: PyTree, examples: Examples, vectors: list[Float[Array, "n r"]], total: Any) -> list[list[jax.Array]]:
    """Add the chunk's part of every vector's product with the transposed Jacobian (one per output, for the trace) to the sum so far."""
    with jax.default_matmul_precision("highest"):
        values, pull, _ = _outputs(plan, params, examples)

        def product(vector: jax.Array) -> list[jax.Array]:
            return [leaf.astype(vector.dtype) for leaf in pull(vector.astype(values.dtype))]

        if plan.outputs == "trace":
            selectors = jnp.eye(plan.classes, dtype=vectors[0].dtype)
            found = [jax.vmap(lambda selector, vector=vector: product(vector * selector[None]))(selectors) for vector in vectors]
        else:
            found = [product(vector) for vector in vectors]  # not vmapped: on CPU that takes longer for convolutions
        return found if total is None else jax.tree.map(jnp.add, total, found)


def _push(plan: Setup, params: PyTree, examples: Examples, totals: list[list[jax.Array]]) -> list[Float[Array, "n r"]]:
    with jax.default_matmul_precision("highest"):
        leaves, _ = split_parameters(params, plan.parameters)
        _, _, push = _outputs(plan, params, examples)

        def product(tangents: list[jax.Array]) -> jax.Array:
            found = push([tangent.astype(jnp.result_type(leaf)) for tangent, leaf in zip(tangents, leaves, strict=True)])
            return found.astype(tangents[0].dtype)

        if plan.outputs == "trace":
            return [jnp.einsum("rnr->n", jax.vmap(product)(total))[:, None] for total in totals]
        return [product(total) for total in totals]


def trace_estimate(operator: Any, *, probes: int = 16, seed: int = 0) -> Estimate:
    r"""Estimate the trace of a symmetric operator by Hutchinson's method, :math:`\mathrm{tr} K \approx \mathrm{mean}_z\, z^T K z`.

    Cost: one product per probe. The variance of one probe is twice the squared Frobenius norm off the diagonal. The exact trace of a
    tangent kernel is the sum of its diagonal; this estimate serves operators without one, such as functions of a kernel.

    Args:
        operator: ``[n, n]``, anything that ``scipy.sparse.linalg.aslinearoperator`` takes.
        probes: random vectors of signs, at least two.
        seed: of the vectors; the same seed gives the same estimate.

    Raises:
        KernelError: an operator that is not square, or fewer than two probes.
    """
    linear, vectors = _probed(operator, probes, seed)
    return _estimate([float(v @ product) for v, product in zip(vectors.T, _times(linear, vectors).T, strict=True)])


def logdet_estimate(operator: Any, *, ridge: float, probes: int = 16, steps: int = 64, seed: int = 0) -> Estimate:
    r"""Estimate :math:`\log \det (K + \text{ridge} \cdot I)` by stochastic Lanczos quadrature.

    Each probe's tridiagonal matrix gives a Gauss quadrature of :math:`z^T \log(K + \text{ridge}) z`. The standard error describes the
    probes. The quadrature is exact for ``steps = n``; with fewer steps its error falls about as
    :math:`\exp(-4\,\text{steps} / \sqrt{\kappa})`, with :math:`\kappa` the condition number of the sum. Raise ``steps`` until the value
    stays.

    The library matfree computes the same (tests compare both), inside one compiled loop over the whole data set. On CPU, convolutional
    networks run about 20 times slower there, and all examples' activations are in memory at once; here the operator works by chunks.

    Cost: ``probes * steps`` products, taken for all probes at once, and ``probes * steps * n`` numbers in float64, for vectors that are
    orthogonalised in full.

    Args:
        operator: ``K``, ``[n, n]`` and positive semi-definite, anything that ``scipy.sparse.linalg.aslinearoperator`` takes.
        ridge: above zero; a kernel alone is often singular, with a determinant of zero. At least the rounding of K, about the rounding
            unit of its dtype times its largest eigenvalue.
        probes: random vectors of signs, at least two.
        steps: of the Lanczos iteration, fewer where the iteration ends.
        seed: of the vectors.

    Returns:
        The estimate and the standard error of its probes.

    Raises:
        KernelError: an operator that is not square, fewer than two probes, no step, a ridge that is not positive, or an eigenvalue of the
            sum that is not positive: the operator is not positive semi-definite up to the ridge.
    """
    if steps < 1:
        raise KernelError(f"steps must be at least 1, got {steps}")
    if not ridge > 0:
        raise KernelError(f"ridge must be above 0, got {ridge}: a kernel alone is singular up to rounding, and has no log-determinant")
    linear, vectors = _probed(operator, probes, seed)
    values = []
    for diagonal, beside in _lanczos(linear, vectors, min(steps, linear.shape[0])):
        nodes, rotation = eigh_tridiagonal(diagonal, beside)
        if not (nodes + ridge > 0).all():
            raise KernelError(
                f"the operator has the eigenvalue {nodes.min():.3g}, so that adding ridge={ridge:.3g} does not make it positive: raise the "
                "ridge above the rounding of the operator, or compute it in float64"
            )
        values.append(linear.shape[0] * float(rotation[0] ** 2 @ np.log(nodes + ridge)))
    return _estimate(values)


def _probed(operator: Any, probes: int, seed: int) -> tuple[Any, np.ndarray]:
    linear = aslinearoperator(np.asarray(operator.matrix) if hasattr(operator, "matrix") else operator)
    if linear.shape[0] != linear.shape[1]:
        raise KernelError(f"expected a square operator [n, n], got shape {linear.shape}")
    if probes < 2:
        raise KernelError(f"probes must be at least 2, for their spread is the error, got {probes}")
    return linear, np.random.default_rng(seed).choice([-1.0, 1.0], (linear.shape[0], probes))


def _times(linear: Any, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(linear.matmat(vectors), np.float64)


def _estimate(values: list[float]) -> Estimate:
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


def _lanczos(linear: Any, starts: np.ndarray, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the diagonal and subdiagonal of each start's tridiagonal matrix; all starts share their products."""
    basis = np.empty((steps, *starts.shape))
    vectors, rounding = starts / np.linalg.norm(starts, axis=0), float(np.finfo(np.promote_types(linear.dtype, np.float16)).eps)
    diagonals, sides = np.zeros((2, steps, starts.shape[1]))
    for step in range(steps):
        basis[step] = vectors
        products = _times(linear, vectors)
        diagonals[step] = np.einsum("np,np->p", vectors, products)
        for _ in range(2):  # once is not enough to be orthogonal to working precision
            products -= np.einsum("snp,sp->np", basis[: step + 1], np.einsum("snp,np->sp", basis[: step + 1], products))
        sides[step] = np.linalg.norm(products, axis=0)
        vectors = products / np.maximum(sides[step], np.finfo(np.float64).tiny)
    scale = np.maximum(np.abs(diagonals).max(0), sides.max(0))
    ends = [int(np.argmax(np.append(side <= 10 * rounding * top, True))) + 1 for side, top in zip(sides.T, scale, strict=True)]
    return [(diagonals[:end, place], sides[: end - 1, place]) for place, end in enumerate(min(end, steps) for end in ends)]
