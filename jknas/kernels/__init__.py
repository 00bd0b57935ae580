"""Gradient kernels of any JAX model.

========================== ======================================================================
module                     what it computes
========================== ======================================================================
``gram``                   the exact empirical neural tangent kernel
``tiled``                  the same of a whole data set, written to a file
``coupled``                the same for models whose examples interact, as in batch normalisation
``mgm``                    the mean of the Gram matrix of gradients, the score of KNAS
``spectrum``               eigenvalues, condition number and effective rank of a Gram matrix
``linear_regions``         the number of activation patterns of a ReLU network
``neural_tangents``        kernels by the library neural-tangents, as a cross-check
========================== ======================================================================

The functions of these modules are also names of :mod:`jknas`: ``jknas.gram``, ``jknas.tiled_gram``, ``jknas.ntk_coupled``, ``jknas.mgm``, ...
"""
