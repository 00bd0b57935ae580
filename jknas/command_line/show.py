"""``jknas show``: what a genotype is, without building its network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jknas.command_line import options
from jknas.command_line.output import print_json, show, table

_RESOLUTIONS: dict[str | None, int] = {None: 32, "imagenet": 224}
"""Height and width of the images that a stem is made for."""

_TOKENS = 128
"""Tokens of a sequence."""


def describe(
    space: Any, genotype: Any, *, channels: int, cells: int, classes: int, resolution: int, stem: str | None = None
) -> dict[str, Any]:
    """Return the facts about a genotype, as plain data."""
    size = {"channels": channels, "cells": cells, "classes": classes, **({} if stem is None else {"stem": space.stem(stem)})}
    return {
        "genotype": str(genotype),
        "space": space.name,
        **({} if space.index is None else {"index": space.index.of(genotype)}),
        "code": list(genotype.code),
        "canonical": str(space.canonical(genotype)),
        "dead": space.is_dead(genotype),
        "parameters": space.parameters(genotype, **size),
        "macs": space.macs(genotype, **size, resolution=resolution),
        "network": {**size, "resolution": resolution},
    }


def command(
    *,
    arch: Annotated[
        str, typer.Argument(metavar="ARCH", help="an architecture string, a published index ('#1462'), or a name (resnet, DARTS_V2)")
    ],
    space: options.Space = "nasbench201",
    out: Annotated[Path | None, typer.Option("--out", help="draw the cell into this file, .svg or .png")] = None,
    channels: options.Channels = None,
    cells: Annotated[int | None, typer.Option("--cells", min=1, help="cells of the network (as usual in the space)")] = None,
    classes: Annotated[int, typer.Option("--classes", min=1, help="classes of the classifier")] = 10,
    resolution: Annotated[
        int | None,
        typer.Option("--resolution", min=1, help="height and width of the images, for the MACs [32; ImageNet stem 224]; tokens [128]"),
    ] = None,
    stem: options.Stem = None,
    json: options.Json = False,
) -> None:
    """Print parameters, MACs, canonical form and published index of a cell, and draw it."""
    from jknas import spaces

    chosen = spaces.get(space)
    genotype = options.architecture(chosen, arch)
    width, depth = chosen.channels if channels is None else channels, chosen.cells if cells is None else cells
    if resolution is None:
        resolution = _TOKENS if chosen.inputs == "tokens" else _RESOLUTIONS.get(stem, _RESOLUTIONS[None])
    facts = describe(chosen, genotype, channels=width, cells=depth, classes=classes, resolution=resolution, stem=stem)
    if out is not None:
        from jknas.report.cell_drawing import draw_cell

        facts["drawing"] = str(draw_cell(genotype, out, space=chosen, title=_title(arch, facts)))
    if json:
        print_json(facts)
        return
    rows = {
        "genotype": facts["genotype"],
        **({"index": f"#{facts['index']}"} if "index" in facts else {}),
        "canonical": facts["canonical"],
        "dead": "yes: the output does not depend on the input" if facts["dead"] else "no",
        "parameters": f"{facts['parameters']:,}",
        "MACs": f"{facts['macs']:,} at {f'{resolution} tokens' if chosen.inputs == 'tokens' else f'{resolution}x{resolution}'}",
        "network": f"{width} channels, {depth} {chosen.cells_unit}, {classes} classes" + (f", {stem} stem" if stem else ""),
    }
    show(table(space, rows | ({"drawing": facts["drawing"]} if out is not None else {})))


def _title(arch: str, facts: dict[str, Any]) -> str:
    """Return the published index; without one, the name under which the genotype was asked for."""
    if "index" in facts:
        return f"#{facts['index']}"
    return arch.strip() if arch.strip().isidentifier() else facts["space"]
