"""A labelled data set of token sequences: what :class:`~jknas.data.dataset.Dataset` is for images."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32

from jknas.data.dataset import Dataset
from jknas.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TextDataset(Dataset):
    """Token sequences and labels of the three splits, in the place of images.

    What images have and tokens do not is empty: constants of normalisation and augmentation.

    Attributes:
        x_train: Sequences `[N, 3, T]`, int32: ids, types, and 1 for a token or 0 for padding.
        x_validation: As `x_train`.
        x_test: As `x_train`.
        vocabulary: Ids are below this number, V.
        tokenizer: SHA-256 of the tokenizer.
        class_names: The class of each label.

    Raises:
        DataError: as for images.
    """

    x_train: Int32[np.ndarray, "train 3 t"]
    x_validation: Int32[np.ndarray, "validation 3 t"]
    x_test: Int32[np.ndarray, "test 3 t"]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop_padding: int = 0
    horizontal_flip: bool = False
    vocabulary: int
    tokenizer: str = ""
    class_names: tuple[str, ...] = ()

    inputs: ClassVar[str] = "tokens"

    @property
    def has_f1(self) -> bool:
        """Whether the classes are 0 and 1, so that 1 is what the task looks for."""
        return self.class_names == ("0", "1")

    @property
    def resolution(self) -> int:
        """Tokens of a sequence, padding included, T."""
        return int(self.x_train.shape[2])

    @property
    def channels(self) -> int:
        """The size of the vocabulary: a token is a one-hot vector of as many channels."""
        return self.vocabulary

    def normalise(self, images: Int32[np.ndarray, "n 3 t"]) -> Int32[np.ndarray, "n 3 t"]:
        """Return sequences as they are."""
        self._check_examples(images, f"{self.name}: sequences")
        return images

    def _facts(self) -> tuple[Any, ...]:
        return self.num_classes, self.vocabulary, self.tokenizer, self.class_names

    def _check_examples(self, examples: Any, where: str) -> None:
        if not isinstance(examples, np.ndarray) or examples.dtype != np.int32 or examples.ndim != 3 or examples.shape[1] != 3:
            came = f"{examples.dtype} {examples.shape}" if isinstance(examples, np.ndarray) else type(examples).__name__
            raise DataError(f"{where}: came as {came}; expected int32 [N, 3, T]: ids, types and mask.")
        if examples.size == 0:
            raise DataError(f"{where}: shape {examples.shape} holds no tokens; every split needs at least one pair.")
        low, high = int(examples[:, 0].min()), int(examples[:, 0].max())
        if low < 0 or high >= self.vocabulary:
            raise DataError(
                f"{where}: ids run from {low} to {high}; expected 0..{self.vocabulary - 1}: use the tokenizer of the vocabulary."
            )

    def _check_constants(self) -> None:
        if self.mean or self.std or self.crop_padding or self.horizontal_flip:
            raise DataError(f"{self.name}: tokens have no constants of normalisation and no augmentation: leave them out.")
