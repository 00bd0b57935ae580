r"""ntk_trace: the trace of the tangent kernel, :math:`\sum_i \|\partial y_i / \partial w\|^2`.

Reference: Shu, Cai, Dai, Ooi and Low, "NASI: Label- and Data-agnostic Neural Architecture Search at Initialization", ICLR 2022,
arXiv:2109.00817. The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.

Deviations:
    NASI takes the gradients of the loss and approximates the norm (:mod:`jknas.proxies.nasi`); this trace is exact, by default of the sum
    of the outputs.
"""

from jknas.proxies.measurements.tangent_kernel import read_spectrum, row

PROXY = row(
    name="ntk_trace",
    summary="trace of the tangent kernel: the sum of squared per-example gradient norms",
    reference="Shu et al., NASI, ICLR 2022, arXiv:2109.00817 (trace norm; there of the loss gradients, approximated)",
    read=read_spectrum("trace"),
)
