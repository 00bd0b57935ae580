r"""The Gram tape: an exact kernel of any JAX model by one backward pass.

Let :math:`y_i = f(w, x_i)` be one number for each of N examples and :math:`K_{ij} = \partial_w y_i \cdot \partial_w y_j` their kernel.
Give the per-example function a further argument, the *tape*: N zeros that change nothing. Wherever a parameter meets data, the
operation's reverse rule hands the tape the row of inner products of *this* operation's parameter gradients with those of every other
example. Autodiff adds the rows up, and ``vmap(grad)`` with respect to the tape is the kernel. Only one operation's per-example gradients
are alive at a time.

The rewriting works on the traced function (:mod:`~jknas.kernels.tape.rewriting`): models know nothing of it. Rows are computed by a
``custom_vmap`` function, whose batching rule is the one place that sees all examples at once (:mod:`~jknas.kernels.tape.rows`).
"""
