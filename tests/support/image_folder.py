"""A folder per class, of small image files of several sizes."""

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def make_image_folder(root, *, train=6, val=4):
    """Write ``train/CLASS`` and ``val/CLASS`` with PNG and JPEG files, grey and coloured; a class's images have its colour."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(CLASSES):
            place = root / split / name
            place.mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(20, 90, size=2)
                pixels = rng.integers(0, 100, size=(height, width, 3), dtype=np.uint8)
                pixels[..., label] += 120
                image = Image.fromarray(pixels)
                if number == 1:
                    image = image.convert("L")
                image.save(place / f"{number}.{'png' if number % 2 else 'JPEG'}")
    return root
