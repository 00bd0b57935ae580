"""The options that commands share, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jknas.command_line.errors import CommandError

if TYPE_CHECKING:
    from jknas.data import Dataset
    from jknas.networks.cell_network import CellNetwork
    from jknas.proxies import Proxy
    from jknas.spaces import Space as SearchSpace

MAX_SEED = 2**32 - 1

# Written out, so that --help need not import every proxy.
PROXY_NAMES = (
    "label_gradient_alignment, linear_regions, macs, mgm, mgm_layerwise, mgm_logits, mgm_released, mgm_released_aliased, ntk_condition, "
    "ntk_effective_rank, ntk_frobenius, ntk_lambda_min, ntk_trace, params, tenas_condition"
)

Space = Annotated[str, typer.Option("--space", help="search space")]
Data = Annotated[str, typer.Option("--data", help="data set: a name of `jknas data list`, or a path to an .npz")]
Folder = Annotated[Path | None, typer.Option("--folder", help="folder of local data; the environment variable JKNAS_DATA by default")]
Resolution = Annotated[int | None, typer.Option("--resolution", help="resize images to this; 16 for digits, otherwise as stored")]
Limit = Annotated[str | None, typer.Option("--limit", help="N_TRAIN,N_TEST: only the first images of the splits")]
Channels = Annotated[int, typer.Option("--channels", min=1, help="channels of the first stage")]
Cells = Annotated[int, typer.Option("--cells", min=1, help="cells in each of the three stages")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="examples that the proxy sees; its published number by default")]
Init = Annotated[str, typer.Option("--init", help="initialisation: pytorch, he_normal or he_normal_out")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="fixes everything that is drawn")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the proxy; repeatable")]
Json = Annotated[bool, typer.Option("--json", help="print JSON to standard output, and no progress")]
CompileCache = Annotated[Path | None, typer.Option("--compile-cache", help="keep compiled programs in this folder for later runs")]
Epochs = Annotated[int, typer.Option("--epochs", help="epochs of training")]
TrainBatch = Annotated[int | None, typer.Option("--train-batch", help="images a training step; 25 for digits, otherwise 256")]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="of the first epoch; falls to zero along a cosine")]
WeightDecay = Annotated[float, typer.Option("--weight-decay", help="L2 coefficient on every parameter")]
Precision = Annotated[str, typer.Option("--precision", help="of training: float32 or bfloat16")]

# Two reductions halve an image: at 8x8 the last stage would normalise over four pixels. And 256 images a step leave four steps an epoch.
_DIGITS_RESOLUTION, _DIGITS_TRAIN_BATCH, _TRAIN_BATCH = 16, 25, 256


@dataclass(frozen=True)
class DataChoice:
    """The options that choose the data."""

    name: str
    folder: Path | None
    resolution: int | None
    limit: str | None

    def load(self) -> Dataset:
        """Load the data set."""
        from jknas.data import load

        resolution = _DIGITS_RESOLUTION if self.resolution is None and self.name == "digits" else self.resolution
        return load(self.name, folder=self.folder, resolution=resolution, limit=_limit(self.limit))

    def train_batch(self, given: int | None) -> int:
        """Return the images of a training step."""
        if given is not None:
            return given
        return _DIGITS_TRAIN_BATCH if self.name == "digits" else _TRAIN_BATCH


def _limit(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        train, test = (int(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"--limit is {text!r}; expected two whole numbers, N_TRAIN,N_TEST, as in --limit 5000,1000.") from None
    return train, test


def use_compile_cache(folder: Path | None) -> None:
    """Keep compiled programs in a folder. Has to come before the first array."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--compile-cache {folder} cannot be made ({error.strerror}): give a folder that can be written.") from error
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def network_for(dataset: Dataset, channels: int, cells: int) -> CellNetwork:
    """Return the macro network for a data set."""
    from jknas.networks.cell_network import CellNetwork

    return CellNetwork(channels, cells, dataset.num_classes, dataset.channels)


def check_init(scheme: str) -> Any:
    """Return the initialisation's name, or refuse it."""
    from jknas.networks.initialisation import check_scheme

    try:
        check_scheme(scheme)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return scheme


def proxies_named(texts: list[str]) -> list[Proxy]:
    """Return the proxies of repeated, comma-separated names, each once."""
    from jknas import proxies

    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise CommandError(f"no proxy is named; choose among {', '.join(proxies.names())}.")
    return [proxies.get(name) for name in dict.fromkeys(names)]


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
    """Return the genotype that a string, a name (resnet, DARTS_V2) or, in NAS-Bench-201, a published index (#1462) means."""
    text = text.strip()
    indexed = space.name == "nasbench201"
    if text.startswith("#") and indexed:
        from jknas.spaces.nasbench201_index import genotype_at

        if not text[1:].isdecimal():
            raise CommandError(f"{text!r} is no index; expected # and a whole number, as in '#1462' (in quotes, for the shell).")
        return genotype_at(int(text[1:]))
    if text in space.named:
        return space.named[text]
    index = "an index such as '#1462', " if indexed else ""
    if text.isidentifier():
        raise CommandError(f"no cell is called {text[:60]!r}; expected one of {', '.join(space.named)}, {index}or a string.")
    if text.startswith("#"):
        raise CommandError(
            f"{text[:60]!r}: the space {space.name!r} has no published index; expected one of {', '.join(space.named)}, or a string."
        )
    return space.parse(text)


def recipe_for(
    choice: DataChoice, *, epochs: int, train_batch: int | None, learning_rate: float, weight_decay: float, precision: Any
) -> Any:
    """Return the training recipe of the options."""
    from jknas.training import Recipe

    return Recipe(
        epochs=epochs,
        batch_size=choice.train_batch(train_batch),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision,
    )


def output_folder(folder: Path) -> Path:
    """Make the folder of ``--out``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--out {folder} cannot be made ({error.strerror}): give a folder that can be written.") from error
    return folder
