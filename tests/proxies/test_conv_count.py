"""The number of edges that hold a convolution."""

import dataclasses

import own_space
import pytest
import search_stubs as stubs

from jknas import proxies, spaces
from jknas.errors import ProxyError
from jknas.scoring.scorer import make_scorer
from jknas.spaces.darts.genotype import DartsGenotype


def counted(space, genotype):
    return make_scorer(proxies.get("conv_count"), stubs.tiny_digits(), space).score(genotype).score


@pytest.mark.parametrize(
    ("text", "expected"),
    [(stubs.RESNET, 2), (stubs.DEAD, 0), ("|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|", 3)],
)
def test_cells_of_nasbench201(text, expected):
    assert counted(stubs.SPACE, stubs.SPACE.parse(text)) == expected


def test_both_cells_of_darts_count():
    darts = spaces.get("darts")
    for name, genotype in darts.named.items():
        assert isinstance(genotype, DartsGenotype)
        expected = sum("conv" in operation for operation, _ in (*genotype.normal, *genotype.reduce))
        assert counted(darts, genotype) == expected, name
    assert counted(darts, darts.named["DARTS_V2"]) == 6


@pytest.mark.parametrize("name", spaces.names())
def test_spaces_name_their_convolutions(name):
    space = spaces.get(name)
    assert set(space.convolutions) < set(space.operations)
    assert all(("conv" in operation) == (operation in space.convolutions) for operation in space.operations)


def test_a_space_that_does_not_say():
    genotype = own_space.SPACE.parse("|conv3|skip|conv1|")
    with pytest.raises(ProxyError, match=r"of 'chain' hold a convolution: set Space.convolutions to .*, some of skip, conv1, conv3\."):
        counted(own_space.SPACE, genotype)
    assert counted(dataclasses.replace(own_space.SPACE, convolutions=("conv1", "conv3")), genotype) == 2
