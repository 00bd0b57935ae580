"""The 9,445 cells of NAS-Bench-201 that training-free rankers are often compared on, here called reachable.

Their inner nodes are used or left out as a whole: a node that nothing reaches feeds nothing, and a node that feeds nothing is not reached.

It is another set than that of the distinct cells (5,234 to 6,466, :mod:`jknas.spaces.nasbench201.canonical`) and of the live ones (15,284,
``is_dead``): isomorphic twins stay, and so does one dead cell, in which every edge is "none". Ranks on it and on the whole space are not
comparable: the correlation of the number of parameters with accuracy on CIFAR-10 is 0.80 here and 0.75 there.

Reference: the list of cells in the data of GRAF, Kadlecova et al., ICML 2024, arXiv:2404.16551, on which VKDNW (CVPR 2025,
arXiv:2502.04975) reports its main table, too.
"""

from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype


def reachable(genotype: CellGenotype) -> bool:
    """Say whether every inner node of a cell is fed exactly if it feeds something; an edge "none" does neither.

    The published rule goes over the inner nodes forwards, setting to "none" what leaves a node that has no input, and backwards, setting
    to "none" what enters a node that has no output; a cell is kept if nothing changed. That is the same.

    Args:
        genotype: the cell.

    >>> reachable(CellGenotype.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"))
    True
    >>> reachable(CellGenotype.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"))
    False
    """
    used = [edge for name, edge in zip(genotype.operations, EDGES, strict=True) if name != "none"]
    inner = {node for node, _ in EDGES} & {source for _, source in EDGES}
    return {node for node, _ in used} & inner == {source for _, source in used} & inner
