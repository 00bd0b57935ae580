"""The genotype of a FlexiBERT encoder: the width of its states and what each of its two or four layers is.

**The operators were very probably never used in training.** A layer names an operator, but the TensorFlow code behind the published scores
chooses it by ``operation_type is "SA"``, an identity test of a string that was read from JSON against a literal. It is false, and every
layer falls through to plain attention. The scores agree: no operator leaves a trace in accuracies or in training times, where a Fourier
layer, which has half of the projections and no attention, could not take the same time. In the same code the first feed-forward layer is
always four times as wide as the state, so that the feed-forward width only sizes the *extra* layers. The networks, sizes and costs of this
space are therefore those *as trained*: an operator changes nothing, and neither does the feed-forward width of a layer with one
feed-forward layer. (That the released code is what the authors ran is not proven; hence "very probably".) The genotype keeps all fields, so
that the benchmark's names stay readable; ``Space.canonical`` maps a genotype to its class as trained.

Reference: Serianni and Kalita, "Training-free Neural Architecture Search for RNNs and Transformers", ACL 2023, arXiv:2306.00288, and its
code and data, github.com/aaronserianni/training-free-nas; the space after Tuli et al., "FlexiBERT", arXiv:2205.11656.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, SupportsIndex

from jknas.errors import GenotypeError, choose, shown
from jknas.spaces.code import Ordered, read_digits

HIDDEN: tuple[int, ...] = (128, 256)
"""Widths of the states."""

DEPTHS: tuple[int, ...] = (2, 4)
"""Layers of an encoder."""

OPERATORS: tuple[str, ...] = ("SDP", "WMA", "DFT", "DCT", "DSC5", "DSC9")
"""Declared operators: self-attention by scaled dot products or a weighted product; Fourier and cosine transforms; span-based dynamic
convolutions of 5 and 9 tokens."""

HEADS: tuple[int, ...] = (2, 4)
FEED_FORWARD: tuple[int, ...] = (512, 1024)
FEED_FORWARDS: tuple[int, ...] = (1, 3)

FORM = "WIDTH:OPERATOR-HEADS-FEEDFORWARDxNUMBER+..., as in 256:SDP-4-1024x3+DCT-2-512x1"
"""How a genotype is written."""

_LONGEST = 80
_LAYER = re.compile(r"([A-Z]+[0-9]?)-([0-9]{1,2})-([0-9]{1,5})x([0-9]{1,2})")


def _check(name: str, value: object, known: tuple[int, ...]) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value not in known:
        raise GenotypeError(f"{name} is {value!r}; expected {' or '.join(map(str, known))}.")


@dataclass(frozen=True, order=True)
class EncoderLayer:
    """What the benchmark declares for a layer.

    Attributes:
        operator: one of :data:`OPERATORS`; very probably without effect on the published scores, see the module's text.
        heads: attention heads, 2 or 4.
        feed_forward: width of the extra feed-forward layers, 512 or 1024.
        feed_forwards: number of hidden feed-forward layers, 1 or 3.

    Raises:
        GenotypeError: another value.
    """

    operator: str
    heads: int
    feed_forward: int
    feed_forwards: int

    def __post_init__(self) -> None:
        choose("operator", self.operator, OPERATORS, error=GenotypeError)
        _check("heads", self.heads, HEADS)
        _check("feed_forward", self.feed_forward, FEED_FORWARD)
        _check("feed_forwards", self.feed_forwards, FEED_FORWARDS)

    @property
    def as_trained(self) -> "EncoderLayer":
        """The first layer type that is the same network as trained: without operator, and without a width that sizes nothing."""
        return EncoderLayer(OPERATORS[0], self.heads, self.feed_forward if self.feed_forwards > 1 else FEED_FORWARD[0], self.feed_forwards)

    def __str__(self) -> str:
        return f"{self.operator}-{self.heads}-{self.feed_forward}x{self.feed_forwards}"


LAYERS: tuple[EncoderLayer, ...] = tuple(
    EncoderLayer(*fields) for fields in itertools.product(OPERATORS, HEADS, FEED_FORWARD, FEED_FORWARDS)
)
"""The 48 layer types."""

OPERATIONS: tuple[str, ...] = ("none", *(f"width {hidden}" for hidden in HIDDEN), *map(str, LAYERS))
"""What a digit of the code means: no layer; the width of the states; a layer type."""

FIRST_WIDTH = 1
FIRST_LAYER = FIRST_WIDTH + len(HIDDEN)
"""The digit of the first width, and of the first layer type."""

PLACES: tuple[str, ...] = ("the width", *(f"layer {number}" for number in range(1, max(DEPTHS) + 1)))
"""What each digit of a code stands for."""


@dataclass(frozen=True)
class FlexibertGenotype(Ordered):
    """An encoder of the benchmark, as declared.

    >>> genotype = FlexibertGenotype.parse("256:SDP-4-1024x3+DCT-2-1024x1")
    >>> genotype.code, str(genotype.as_trained)
    ((2, 10, 29, 0, 0), '256:SDP-4-1024x3+SDP-2-512x1')

    Attributes:
        hidden: width of the states, H, 128 or 256.
        layers: the layers, two or four.

    Raises:
        GenotypeError: another width, number of layers or type of layer.
    """

    hidden: int
    layers: tuple[EncoderLayer, ...]

    def __post_init__(self) -> None:
        _check("hidden", self.hidden, HIDDEN)
        if not isinstance(self.layers, tuple) or not all(isinstance(layer, EncoderLayer) for layer in self.layers):
            raise GenotypeError(f"layers is {self.layers!r}; expected a tuple of EncoderLayer.")
        _check("the number of layers", len(self.layers), DEPTHS)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text that ``str`` prints.

        Raises:
            GenotypeError: any other text; the message says what is wrong with it.
        """
        if not isinstance(text, str):
            raise GenotypeError(f"The genotype is a {type(text).__name__}; expected a string of the form {FORM}.")
        width, colon, rest = text.partition(":")
        found = [_LAYER.fullmatch(part) for part in rest.split("+")]
        if not colon or not re.fullmatch("[0-9]{1,5}", width) or not all(found):
            raise GenotypeError(f"Cannot read the genotype {shown(text, _LONGEST)}. The form is {FORM}.")
        layers = tuple(EncoderLayer(part[1], *map(int, part.groups()[1:])) for part in found if part)
        return cls(int(width), layers)

    @classmethod
    def from_code(cls, code: Iterable[SupportsIndex]) -> Self:
        """Return the genotype of a code, see :attr:`code`.

        Raises:
            GenotypeError: another number of digits, a digit that means nothing at its place, or layers after a gap.
        """
        expected = f"expected {len(PLACES)} digits, the width and four layers, of which the last two may be 0"
        parser = "FlexibertGenotype.parse"
        digits = read_digits(code, places=PLACES, operations=OPERATIONS, expected=expected, parser=parser, error=GenotypeError)
        width, layers = digits[0], [digit for digit in digits[1:] if digit]
        depth = len(layers)
        fits = FIRST_WIDTH <= width < FIRST_LAYER and all(digit >= FIRST_LAYER for digit in layers) and depth in DEPTHS
        if not fits or not all(digits[1 : 1 + depth]):
            raise GenotypeError(f"The code is {digits}, which is no encoder; {expected}: begin with 1 or 2, go on with digits above 2.")
        return cls(HIDDEN[width - FIRST_WIDTH], tuple(LAYERS[digit - FIRST_LAYER] for digit in layers))

    @property
    def code(self) -> tuple[int, ...]:
        """Places in :data:`OPERATIONS`: of the width, and of each layer; 0 for the third and fourth of two layers."""
        layers = [FIRST_LAYER + LAYERS.index(layer) for layer in self.layers]
        return (FIRST_WIDTH + HIDDEN.index(self.hidden), *layers, *[0] * (max(DEPTHS) - len(layers)))

    @property
    def as_trained(self) -> "FlexibertGenotype":
        """The genotype of the smallest code that is the same network as trained."""
        return FlexibertGenotype(self.hidden, tuple(layer.as_trained for layer in self.layers))

    def __str__(self) -> str:
        return f"{self.hidden}:{'+'.join(map(str, self.layers))}"
