"""Gradient kernels of any JAX model.

========================== ======================================================================
module                     what it computes
========================== ======================================================================
``gram``                   the exact empirical neural tangent kernel
``coupled``                the same for models whose examples interact, as in batch normalisation
``mgm``                    the mean of the Gram matrix of gradients, the score of KNAS
``spectrum``               eigenvalues, condition number and effective rank of a Gram matrix
``operator``               the tangent kernel as a SciPy operator; trace and log-determinant
``predict``                Gaussian-process posterior and gradient flow from any kernel
``taylor``                 the first-order expansion of a model, whose kernel is constant
``nngp_kernel``            the empirical kernel of outputs or of a layer's features
``alignment``              alignment of a kernel with labels; distance of two kernels
``linear_regions``         the number of activation patterns of a ReLU network
``neural_tangents``        kernels by the library neural-tangents, as a cross-check
========================== ======================================================================

The functions of these modules are also names of :mod:`jknas`: ``jknas.gram``, ``jknas.ntk_coupled``, ``jknas.mgm``, ...
"""
