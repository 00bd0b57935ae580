"""The cosine of kernels, against its definition written out."""

import numpy as np
import pytest

from jknas.errors import KernelError
from jknas.kernels.alignment import centred_label_alignment, kernel_distance

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((8, 5)) + 3.0
KERNEL = FEATURES @ FEATURES.T
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0])


def test_the_alignment_is_that_of_centred_features():
    one_hot = np.eye(3)[LABELS]
    features, targets = FEATURES - FEATURES.mean(0), one_hot - one_hot.mean(0)
    k, y = features @ features.T, targets @ targets.T
    expected = np.trace(k @ y) / np.sqrt(np.trace(k @ k) * np.trace(y @ y))
    assert centred_label_alignment(KERNEL, LABELS) == pytest.approx(expected, rel=1e-12)
    assert centred_label_alignment(1e200 * KERNEL + 3e200, LABELS) == pytest.approx(expected, rel=1e-9)


def test_the_distance_knows_no_scale():
    other = np.diag(np.arange(1.0, 9.0))
    expected = 1 - np.sum(KERNEL * other) / np.sqrt(np.sum(KERNEL**2) * np.sum(other**2))
    assert kernel_distance(KERNEL, other) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(KERNEL, 7 * KERNEL) == pytest.approx(0, abs=1e-14)
    assert kernel_distance(np.diag([1.0, 0]), np.diag([0, 1.0])) == 1


@pytest.mark.parametrize("kernel", [np.zeros((8, 8)), np.full((8, 8), np.nan), np.full((8, 8), np.float32(0.1))])
def test_what_is_undefined_is_nan(kernel):
    assert np.isnan(centred_label_alignment(kernel, LABELS))
    assert np.isnan(centred_label_alignment(KERNEL, np.zeros(8, int)))
    if not kernel.any() or np.isnan(kernel).all():
        assert np.isnan(kernel_distance(kernel, KERNEL))


def test_shapes_that_do_not_fit():
    with pytest.raises(KernelError, match=r"labels must be \[8\]"):
        centred_label_alignment(KERNEL, LABELS[:4])
    with pytest.raises(KernelError, match="both kernels must be of the same examples"):
        kernel_distance(KERNEL, KERNEL[:3, :3])
    with pytest.raises(KernelError, match=r"expected a square kernel \[n, n\], got shape \(8, 3\)"):
        kernel_distance(KERNEL[:, :3], KERNEL)
