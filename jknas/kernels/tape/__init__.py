r"""The Gram tape: an exact kernel of any JAX model by one backward pass.

Let :math:`y_i = f(w, x_i)` be one number for each of N examples and :math:`K_{ij} = \partial_w y_i \cdot \partial_w y_j` their kernel.
Give the per-example function another argument, the *tape*: N zeros that change nothing. Wherever a parameter meets data, the reverse rule
of that operation returns, as the tape's cotangent, the row of inner products of *this* operation's parameter gradients with those of every
other example. Autodiff adds up the rows, so ``vmap(grad)`` with respect to the tape is the kernel. Only the per-example gradients of one
operation are in memory at a time. Rows other than those of the full kernel come about in the same way: an example's product with itself
only (its squared gradient norm), or a random projection of its gradient (:mod:`~jknas.kernels.tape.sketching`).

The traced function is rewritten (:mod:`~jknas.kernels.tape.rewriting`); models need no change. A ``custom_vmap`` function computes the
rows: its batching rule is the only place that sees all examples at once (:mod:`~jknas.kernels.tape.rows`).
"""
