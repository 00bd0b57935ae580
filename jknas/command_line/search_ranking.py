"""What ranks the architectures of ``jknas search``: a proxy, or an aggregate of several."""

from typing import TYPE_CHECKING, Any

from jknas.command_line import options
from jknas.errors import CommandError, JknasError

if TYPE_CHECKING:
    from jknas.proxies import Proxy
    from jknas.ranking.aggregates import Aggregate
    from jknas.spaces import Space

RECOMMENDED = "consensus"
_ANYWHERE = "mgm"  # needs no capability
_FREE = "params"  # needs no images either, for methods that do not rank by one


def ranking_named(name: str | None, space: "Space[Any]", method: Any) -> "Proxy | Aggregate":
    """Return the proxy or aggregate of a name or expression.

    Without a name it is the recommended aggregate where a method ranks by it and the space's network has what its members need; otherwise
    a score that every network has, or one that costs nothing where the method has no use for it.
    """
    from jknas import proxies
    from jknas.networks.families import macro_of
    from jknas.ranking import aggregates

    if name is None:
        found = aggregates.get(RECOMMENDED)
        if method.proxy != "ranks":
            return proxies.get(_FREE)
        return found if all(_applies(proxies.get(member), macro_of(space)) for member in found.members) else proxies.get(_ANYWHERE)
    named = options.split([name])
    if len(named) != 1:
        raise CommandError(f"--proxy names {len(named)} proxies; a search ranks by one, or by a combination such as log_rank({name}).")
    return aggregates.ranking(named[0])


def ranked_by(ranking: "Proxy | Aggregate", settings: list[str] | None) -> dict[str, Any]:
    """Return the fields of a :class:`jknas.search.Problem` that say what ranks, with the settings of ``--set``."""
    from jknas import proxies
    from jknas.ranking.aggregates import Aggregate

    members = [proxies.get(name) for name in ranking.members] if isinstance(ranking, Aggregate) else [ranking]
    given = {name: value for one in options.settings_for(members, settings) for name, value in one.items()}
    return {"aggregate" if isinstance(ranking, Aggregate) else "proxy": ranking, "settings": given}


def _applies(proxy: "Proxy", network: Any) -> bool:
    try:
        proxy.check(network, proxy.with_settings({}, network))
    except JknasError:
        return False
    return True
