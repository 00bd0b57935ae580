import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_stubs import coloured_dataset, slow_cutout

from jknas.data.dataset import pixel_constants
from jknas.training.augmentation import augment, cut_out, draw_centres, draw_words, normalise, shuffled


def slow_augment(images: np.ndarray, words: np.ndarray, padding: int, flip: bool) -> np.ndarray:
    """Flip, pad with black, crop: one image after the other."""
    out = np.empty_like(images)
    for i, image in enumerate(images):
        mirrored = image[:, ::-1] if flip and words[i, 1] >= 2**31 else image
        padded = np.pad(mirrored, ((padding, padding), (padding, padding), (0, 0)))
        top, left = (int(words[i, column]) % (2 * padding + 1) for column in (2, 3))
        out[i] = padded[top : top + image.shape[0], left : left + image.shape[1]]
    return out


IMAGES = np.random.default_rng(0).integers(1, 256, (300, 8, 8, 3), dtype=np.uint8)
WORDS = draw_words(jax.random.key(5), len(IMAGES))


@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (1, False), (2, True), (4, True)])
def test_equals_flip_then_pad_then_crop(padding, flip):
    out = jax.jit(lambda images, words: augment(images, words, crop_padding=padding, horizontal_flip=flip))(IMAGES, WORDS)
    assert out.dtype == jnp.uint8
    np.testing.assert_array_equal(out, slow_augment(IMAGES, np.asarray(WORDS), padding, flip))


def test_every_corner_and_both_mirrors_are_equally_frequent():
    words = np.asarray(draw_words(jax.random.key(1), 20000))
    for column in (2, 3):
        counts = np.bincount(words[:, column] % 9, minlength=9)
        assert np.abs(counts - 20000 / 9).max() < 5 * np.sqrt(20000 / 9)
    assert abs((words[:, 1] >= 2**31).mean() - 0.5) < 0.02
    assert abs(np.corrcoef(words.T.astype(float)) - np.eye(4)).max() < 0.03


def test_the_order_is_a_permutation_that_depends_on_the_key():
    one, two = (np.asarray(shuffled(draw_words(jax.random.key(seed), 500))) for seed in (0, 1))
    assert sorted(one) == list(range(500))
    assert (one != two).mean() > 0.9
    assert (one != np.arange(500)).mean() > 0.9


def test_normalisation_is_the_data_set_s_and_padding_comes_before_it():
    dataset = coloured_dataset()
    scale, shift = pixel_constants(dataset)
    np.testing.assert_allclose(
        normalise(jnp.asarray(dataset.x_train), scale, shift), dataset.normalise(dataset.x_train), rtol=1e-6, atol=1e-6
    )
    words = jnp.zeros((1, 4), jnp.uint32)  # the crop's corner is the corner of the padding
    x = normalise(augment(jnp.asarray(dataset.x_train[:1]), words, crop_padding=2, horizontal_flip=False), scale, shift)
    np.testing.assert_allclose(x[0, :2].reshape(-1, 3), np.tile(-np.divide(dataset.mean, dataset.std), (16, 1)), rtol=1e-5)


@pytest.mark.parametrize(("side", "extents"), [(2, (8, 8)), (16, (32, 32)), (16, (8, 12)), (6, (5, 9))])
def test_cutout_clears_the_clipped_squares(side, extents):
    x = np.random.default_rng(1).normal(size=(100, *extents, 3)).astype(np.float32)
    centres = draw_centres(jax.random.key(2), x)
    out = jax.jit(lambda x, centres: cut_out(x, centres, side=side))(x, centres)
    np.testing.assert_array_equal(out, slow_cutout(x, np.asarray(centres), side))
    assert (np.asarray(out) == 0).all(-1).any((1, 2)).all()


def test_a_cutout_s_centre_is_any_pixel_with_equal_probability():
    centres = np.asarray(draw_centres(jax.random.key(3), np.empty((20000, 4, 6, 1))))
    counts = np.zeros((4, 6))
    np.add.at(counts, tuple(centres.T), 1)
    assert np.abs(counts - 20000 / 24).max() < 5 * np.sqrt(20000 / 24)
