r"""l2_norm: the sum over the layers of the norm of the weights, :math:`\sum_l \|w_l\|_2`, a null model without data and gradients.

It is measured together with grad_norm (:mod:`jknas.proxies.measurements.batch_gradient`), so that the group costs one backward pass.

Reference: the released code of Abdelfattah et al., ICLR 2021, arXiv:2101.08134, github.com/SamsungLabs/zero-cost-nas (``l2_norm``).

Deviations:
    The released code counts all candidate operations of an edge; here only the chosen one counts.
"""

from jknas.proxies.measurements.batch_gradient import row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="l2_norm",
    summary="sum over the layers of the norm of the weights: a null model that sees neither data nor gradients",
    reference="zero-cost-nas, github.com/SamsungLabs/zero-cost-nas (l2_norm)",
    cost="none of its own; measured with the gradient of grad_norm",
    needs_labels=False,
    read=lambda found: read_scalar(found.weight_norm),
)
