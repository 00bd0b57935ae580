"""Gradient kernels of any JAX model.

========================== ======================================================================
module                     what it computes
========================== ======================================================================
``gram``                   the exact empirical neural tangent kernel
``diagonal``               its diagonal: every example's squared gradient norm
``products``               inner products of the gradients of two sets of examples
``sketch``                 an estimate of the kernel from random features of the gradients
``tiled``                  the kernel of a whole data set, written to a file
``coupled``                the kernel of models whose examples interact, as in batch normalisation
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

The main functions of these modules are also names of :mod:`jknas`: ``jknas.gram``, ``jknas.ntk_coupled``, ``jknas.mgm``, ... and, where no
module has the same name, of this package: ``jknas.kernels.gram_diagonal``. The others are imported from their module.
"""

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a module when it is named; a function that is not called like its module is a name of this package, too."""
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return importlib.import_module(f"{__name__}.{name}")
    import jknas  # noqa: PLC0415 - which imports this package when one of its names is used

    if name in jknas.__all__ and name != "__version__":
        value = getattr(jknas, name)
        if getattr(value, "__module__", "").startswith(f"{__name__}."):
            return value
    raise AttributeError(f"jknas.kernels has no module or function {name!r}; its docstring lists them")
