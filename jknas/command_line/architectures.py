"""Which architectures a command is about."""

from pathlib import Path
from typing import Any

from jknas.command_line import options
from jknas.errors import CommandError

_ENUMERABLE = 1_000_000


def chosen(space: Any, arch: list[str], file: Path | None, sample: int | None, *, whole: bool, seed: int) -> list[Any]:
    """Return the architectures of ``--arch``, ``--archs``, ``--sample`` and ``--all``, each once."""
    import numpy as np

    if sample is not None and whole:
        raise CommandError("--sample and --all exclude each other: give one of them.")
    found = [options.architecture(space, text) for text in arch]
    if file is not None:
        found += _read(space, file)
    if sample is not None:
        if sample < 1:
            raise CommandError(f"--sample is {sample}; expected 1 or more architectures.")
        found += space.sample(np.random.default_rng(seed), sample, unique=True)
    if whole:
        if space.size > _ENUMERABLE:
            raise CommandError(f"--all: the space {space.name!r} has {space.size:,} architectures; draw some of them with --sample N.")
        found += space.enumerate()
    if not found:
        raise CommandError("no architecture is chosen; give --arch STRING, --archs FILE, --sample N or --all.")
    return list(dict.fromkeys(found))


def part(space: Any, genotypes: list[Any], text: str | None, *, deduplicate: bool) -> list[Any]:
    """Return the part of some architectures that ``--part`` names: every N-th.

    With ``deduplicate`` the classes of architectures that compute the same function are divided, so that no two parts score the same.
    """
    number, parts = options.part_of(text)
    if parts == 1:
        return genotypes
    classes = [space.canonical(genotype) if deduplicate else genotype for genotype in genotypes]
    own = set(list(dict.fromkeys(classes))[number - 1 :: parts])
    found = [genotype for genotype, kind in zip(genotypes, classes, strict=True) if kind in own]
    if not found:
        raise CommandError(f"--part {text}: of {len(genotypes)} architectures this part has none; divide them into fewer parts.")
    return found


def _read(space: Any, file: Path) -> list[Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--archs {file} cannot be read ({error.strerror}): give a text file with one architecture a line.") from error
    except UnicodeDecodeError:
        raise CommandError(f"--archs {file} is no UTF-8 text: give a text file with one architecture a line.") from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip().strip('"')  # a column of a CSV file has quotes around a text with commas
        if entry:
            try:
                found.append(space.parse(entry))
            except ValueError as error:
                raise CommandError(f"{file}, line {number}: {error}") from error
    if not found:
        raise CommandError(f"--archs {file} holds no architecture; expected one architecture string a line.")
    return found
