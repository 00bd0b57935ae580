"""Which options of ``jknas search`` belong to which method."""

from collections.abc import Mapping
from typing import Any

from jknas.errors import CommandError

_LIMITS = {"--max-evaluations": "evaluations", "--budget-seconds": "seconds", "--overflow": "overflow"}
_EVOLUTION = {"--population": "population", "--tournament": "tournament", "--mutation": "mutation", **_LIMITS}
_TAKES: Mapping[str, Mapping[str, str]] = {
    "best_by_proxy": {"--samples": "samples", "--proxy": ""},
    "bohb": {"--brackets": "brackets", **_LIMITS},
    "evolution": _EVOLUTION,
    "knas": {"--samples": "samples", "--topk": "topk", "--proxy": ""},
    "proxy_evolution": {"--samples": "samples", "--proxy": "", **_EVOLUTION},
    "random": {"--topk": "topk", "--max-evaluations": "topk", "--budget-seconds": "seconds", "--overflow": "overflow", "--proxy": ""},
    "reinforce": {"--controller-rate": "learning_rate", **_LIMITS},
    "tenas": {"--variant": "variant", "--statistics": "statistics", "--draws": "draws", "--batch": "batch"},
}
"""By method the options that it takes, each with the setting that it sets; none where the option says something about the problem."""

METHOD_NAMES = ", ".join(_TAKES)

RANKING = ("best_by_proxy", "knas", "proxy_evolution")
"""Methods that rank architectures by a proxy."""

_MOST_RANDOM = 1000  # architectures that random search draws where seconds alone limit it


def method_of(name: str, given: Mapping[str, Any], *, train: bool) -> Any:
    """Return a method with the settings of the options that were given.

    Args:
        name: of the method.
        given: the values of all options that only some methods take, by option; None for those that were not given.
        train: whether methods that may leave their winner untrained train it.

    Raises:
        CommandError: an option that the method does not take, or two for one setting.
        SearchError: an unknown method, or a setting that it refuses.
    """
    from jknas import search

    make = search.get(name)
    takes, settings = _TAKES[name], {}
    for option, value in given.items():
        if value is None:
            continue
        if option not in takes:
            theirs = ", ".join(takes)
            raise CommandError(f"{option} does not apply to --method {name}, which takes {theirs}: leave it out.")
        if takes[option] in settings:
            raise CommandError(f"{option} and --topk say the same of --method {name}: give one of them.")
        if takes[option]:
            settings[takes[option]] = value
    if "--budget-seconds" in takes and given["--budget-seconds"] is not None:
        # Seconds alone are a limit; the numbers that are usual without them are not meant then.
        settings.setdefault(takes["--max-evaluations"], _MOST_RANDOM if name == "random" else None)
    if name in ("best_by_proxy", "tenas"):
        settings["train"] = train
    return make(**settings)
