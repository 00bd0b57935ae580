"""The options of ``jknas search`` that are hyper-parameters of its methods, made from the fields of their dataclasses."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from jknas.errors import CommandError
from jknas.search import registry

METHOD_NAMES = ", ".join(registry.names())


def _workers_help() -> str:
    """Return what workers do for each method, as the help of ``--workers`` says it."""
    doing: dict[str, list[str]] = {}
    for name in registry.names():
        doing.setdefault(registry.get(name).workers, []).append(name)
    without = doing.pop("", [])
    said = "; ".join(f"{', '.join(methods)}: {words}" for words, methods in doing.items())
    where = "compute in this many processes of this machine, on GPUs one per device (default: in this process)"
    return f"{where}. {said}. Not for {', '.join(without)}"


Workers = Annotated[int | None, typer.Option("--workers", min=1, help=_workers_help())]


class _Hyper(NamedTuple):
    """A field of a method that is an option."""

    method: str
    field: str
    option: str
    kind: Any
    text: str
    default: str
    special: Mapping[str, Any]


def with_hyper_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command, whose ``**given`` collects the options of all methods, with a parameter for each of these options."""
    *fixed, given = inspect.signature(command).parameters.values()
    taken = {f"--{one.name.replace('_', '-')}" for one in fixed}
    listed: dict[str, list[_Hyper]] = {}
    for hyper in (hyper for name in registry.names() for hyper in _hypers(name)):
        if hyper.option not in taken:
            listed.setdefault(hyper.option, []).append(hyper)
    assert given.kind is inspect.Parameter.VAR_KEYWORD
    made = [_parameter(option, hypers) for option, hypers in listed.items()]
    command.__signature__ = inspect.Signature([*fixed, *made])  # type: ignore[attr-defined]
    return command


def method_of(name: str, given: Mapping[str, Any], *, train: bool, table: bool) -> Any:
    """Return a method with the settings of the options that were given.

    Args:
        name: of the method.
        given: the values of all options that only some methods take, by option; None for those that were not given.
        train: whether methods that may leave their winner untrained train it.
        table: whether evaluations are looked up in a table.

    Raises:
        CommandError: an option that the method does not take, or two for one setting.
        SearchError: an unknown method, or a setting that it refuses.
    """
    make, settings = registry.get(name), {}
    hypers = {hyper.option: hyper for hyper in _hypers(name)}
    takes = [*hypers, *(["--proxy"] if make.proxy else [])]
    for option, value in given.items():
        if value is None:
            continue
        if option not in takes:
            raise CommandError(f"{option} does not apply to --method {name}, which takes {', '.join(takes)}: leave it out.")
        if option not in hypers:
            continue
        field = hypers[option].field
        if field in settings:
            both = " and ".join(other for other, hyper in hypers.items() if hyper.field == field)
            raise CommandError(f"{both} say the same of --method {name}: give one of them.")
        settings[field] = value
    for hyper in hypers.values():
        if given.get("--budget-seconds") is not None and "when_timed" in hyper.special:
            settings.setdefault(hyper.field, hyper.special["when_timed"])
        if not table and "when_training" in hyper.special:
            settings.setdefault(hyper.field, hyper.special["when_training"])
    if "train" in {field.name for field in dataclasses.fields(make)}:
        settings["train"] = train
    return make(**settings)


def takes(name: str, option: str) -> bool:
    """Return whether an option is a hyper-parameter of a method."""
    return any(hyper.option == option for hyper in _hypers(name))


def _hypers(name: str) -> Iterator[_Hyper]:
    """Yield the options of a method, its own before those of its bases."""
    make = registry.get(name)
    kinds, own = typing.get_type_hints(make), vars(make).get("__annotations__", {})
    for field in sorted(dataclasses.fields(make), key=lambda field: field.name not in own):
        if "help" not in field.metadata:
            continue
        text, main, also, usually = (field.metadata[key] for key in ("help", "name", "also", "usually"))
        special = {key: value for key, value in field.metadata.items() if key.startswith("when_")}
        for option in (main or f"--{field.name.replace('_', '-')}", also):
            if option is not None:
                yield _Hyper(name, field.name, option, kinds[field.name], text, usually or str(field.default), special)


def _parameter(option: str, hypers: list[_Hyper]) -> inspect.Parameter:
    """Return the parameter of one option, whose help names the methods that take it and their defaults."""
    defaults: dict[str, list[str]] = {}
    for hyper in hypers:
        defaults.setdefault(hyper.default, []).append(hyper.method)
    shown = "; ".join(f"{', '.join(methods)}: {default}" for default, methods in defaults.items())
    kinds = [part for part in (*typing.get_args(hypers[0].kind), hypers[0].kind) if part is not types.NoneType]
    annotation: Any = Annotated[kinds[0] | None, typer.Option(option, help=f"{hypers[0].text} ({shown})")]
    name = option.removeprefix("--").replace("-", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
