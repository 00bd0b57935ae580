"""The options that commands share, and what is made of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jknas.errors import CommandError

if TYPE_CHECKING:
    from jknas.data import Dataset
    from jknas.proxies import Proxy
    from jknas.spaces import Space as SearchSpace
    from jknas.training import Recipe as TrainingRecipe

MAX_SEED = 2**32 - 1

# Written out, so that --help need not import every proxy.
PROXY_NAMES = (
    "az_expressivity, az_progressivity, az_trainability, epe_nas, fisher, grad_norm, gradsign, grasp, hnas, jacob_cov, l2_norm, "
    "label_gradient_alignment, linear_regions, macs, meco, mgm, mgm_layerwise, mgm_logits, mgm_released, mgm_released_aliased, nasi, "
    "naswot, ntk_condition, ntk_effective_rank, ntk_frobenius, ntk_lambda_min, ntk_trace, params, plain, snip, swap, synflow, "
    "tenas_condition, zen, zico"
)
AGGREGATE_NAMES = "az_nas, tenas_rank_sum, vote"

Space = Annotated[str, typer.Option("--space", help="search space")]
Arch = Annotated[list[str] | None, typer.Option("--arch", help="architecture string, index or name; repeatable")]
Archs = Annotated[Path | None, typer.Option("--archs", help="file with one architecture string per line; # begins a comment")]
Sample = Annotated[int | None, typer.Option("--sample", help="draw this many distinct architectures uniformly")]
Whole = Annotated[bool, typer.Option("--all", help="every architecture of the space")]
Data = Annotated[str, typer.Option("--data", help="data set: a name of `jknas data list`, or a path to an .npz")]
Folder = Annotated[Path | None, typer.Option("--folder", help="folder of local data; the environment variable JKNAS_DATA by default")]
Resolution = Annotated[
    int | None, typer.Option("--resolution", help="resize images to this; 16 (for DARTS recipes 32) for digits, otherwise as stored")
]
Limit = Annotated[str | None, typer.Option("--limit", help="N_TRAIN,N_TEST: only the first images of the splits")]
Channels = Annotated[int, typer.Option("--channels", min=1, help="channels of the first stage")]
Cells = Annotated[
    int | None,
    typer.Option("--cells", min=1, help="cells: of NAS-Bench-201 in each of its three stages [5], of DARTS in all [8]"),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="examples that the proxy sees; its published number by default")]
Init = Annotated[str, typer.Option("--init", help="initialisation: pytorch, he_normal, he_normal_out or normal")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="fixes everything that is drawn")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the proxy; repeatable")]
Json = Annotated[bool, typer.Option("--json", help="print JSON to standard output, and no progress")]
CompileCache = Annotated[Path | None, typer.Option("--compile-cache", help="keep compiled programs in this folder for later runs")]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="recipe: nasbench201-12, nasbench201-200, darts, tenas, digits [nasbench201-12, on digits digits; for DARTS darts]"
    ),
]
Epochs = Annotated[int, typer.Option("--epochs", help="epochs of training")]
TrainBatch = Annotated[int | None, typer.Option("--train-batch", help="images per training step; 25 for digits, otherwise the recipe's")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", help="of the first epoch; falls to zero along a cosine")]
WeightDecay = Annotated[float | None, typer.Option("--weight-decay", help="L2 coefficient on every parameter")]
Auxiliary = Annotated[bool | None, typer.Option("--auxiliary/--no-auxiliary", help="train with an auxiliary classifier (DARTS)")]
Cutout = Annotated[int | None, typer.Option("--cutout", help="side of the square cut out of training images; 0 for none")]
DropPath = Annotated[float | None, typer.Option("--drop-path", help="probability that drop path grows to (DARTS); 0 for none")]
Precision = Annotated[str, typer.Option("--precision", help="of training: float32 or bfloat16")]

# The embedded images have 8x8 pixels. Two reductions halve an image, so that the last stage would normalise over four of them.
_DIGITS_RESOLUTION = 16
# The auxiliary classifier is made for CIFAR's 32x32, and so is the size of the squares that are cut out.
_DIGITS_DARTS_RESOLUTION = 32
_RECIPES = {"darts": "darts"}
_DEFAULT_RECIPE = "nasbench201-12"
_DIGITS_RECIPE = "digits"  # in place of the default recipe


@dataclass(frozen=True)
class DataChoice:
    """The options that choose the data."""

    name: str
    folder: Path | None
    resolution: int | None
    limit: str | None

    def load(self, recipe: TrainingRecipe | None = None) -> Dataset:
        """Load the data set, for a training recipe if one is given."""
        from jknas.data import load

        resolution = self.resolution
        if resolution is None and self.name == "digits":
            like_cifar = recipe is not None and (recipe.auxiliary_weight or recipe.cutout)
            resolution = _DIGITS_DARTS_RESOLUTION if like_cifar else _DIGITS_RESOLUTION
        return load(self.name, folder=self.folder, resolution=resolution, limit=_limit(self.limit))

    def recipe(self, name: str) -> TrainingRecipe:
        """Return the recipe of that name, made for the number of images: the digits are a fiftieth of CIFAR-10."""
        from jknas.training import preset

        if self.name != "digits":
            return preset(name)
        digits = preset(_DIGITS_RECIPE)
        return digits if name == _DEFAULT_RECIPE else dataclasses.replace(preset(name), batch_size=digits.batch_size)


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


def network_for(space: SearchSpace[Any], dataset: Dataset, channels: int, cells: int | None) -> Any:
    """Return the network of a space for a data set; without a number of cells, with the space's usual one."""
    from jknas.networks import families

    return families.network_for(space, dataset, channels=channels, cells=cells)


def check_init(scheme: str) -> Any:
    """Return the initialisation's name, or refuse it."""
    from jknas.networks.layers.initialisation import check_scheme

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
        from jknas.spaces.nasbench201.index import genotype_at

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


def recipe_name(space: SearchSpace[Any], given: str | None) -> str:
    """Return the name of the recipe, by default the one that a space's cells are usually trained by."""
    return _RECIPES.get(space.name, _DEFAULT_RECIPE) if given is None else given


def recipe_for(
    choice: DataChoice,
    name: str = _DEFAULT_RECIPE,
    *,
    epochs: int | None,
    train_batch: int | None,
    learning_rate: float | None,
    weight_decay: float | None,
    precision: Any,
    auxiliary: bool | None = None,
    cutout: int | None = None,
    drop_path: float | None = None,
) -> TrainingRecipe:
    """Return the recipe of that name with the options that were given in place of its values; see :meth:`DataChoice.recipe`."""
    from jknas.training import preset

    base = choice.recipe(name)
    weight = None
    if auxiliary is not None:
        weight = (base.auxiliary_weight or preset("darts").auxiliary_weight) if auxiliary else 0.0
    changes = {
        "epochs": epochs,
        "batch_size": train_batch,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "precision": precision,
        "auxiliary_weight": weight,
        "cutout": cutout,
        "drop_path": drop_path,
    }
    return dataclasses.replace(base, **{option: value for option, value in changes.items() if value is not None})


def output_folder(folder: Path) -> Path:
    """Make the folder of ``--out``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--out {folder} cannot be made ({error.strerror}): give a folder that can be written.") from error
    return folder
