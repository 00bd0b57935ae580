"""A search problem whose networks are trained: everything that the result depends on, except the method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jknas import proxies
from jknas.data import Dataset
from jknas.errors import SearchError
from jknas.networks.families import check_fit, macro_of
from jknas.networks.layers.initialisation import Scheme, check_scheme
from jknas.networks.network import Network, facts_of
from jknas.proxies import NetworkProxy, Proxy
from jknas.proxies.macs import mac_count
from jknas.proxies.params import parameter_count
from jknas.proxies.proxy import Setting
from jknas.ranking.aggregates import Aggregate
from jknas.scoring.store import Store
from jknas.search.evaluator import TrainingEvaluator
from jknas.search.measured import Measured, check_measured, identity_of
from jknas.search.method import check_count, check_seed
from jknas.search.pooled import is_pooled, pooled_identity
from jknas.spaces.space import Space
from jknas.training.plan import check_recipe
from jknas.training.recipe import AnyRecipe
from jknas.workers import Pool


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A search problem, checked when it is made and before anything is computed.

    Attributes:
        space: where the architectures come from.
        dataset: the training split trains, the validation split chooses, the test split is read once, for the winner.
        network: size of the macro network; its classes and input channels are those of the data set.
        recipe: how candidates are trained.
        seed: 0 to 2^32 - 1; draws the architectures, the weights, the batch of the proxy and the order of training.
        proxy: what ranks architectures without training.
        aggregate: what ranks them in place of the proxy: several proxies, among the architectures that a search samples.
        score_seeds: by how many seeds architectures are scored, counted from ``seed``; their ranks are averaged.
        settings: overrides of the proxy's settings; of an aggregate, of all members that have a setting of the name.
        batch_size: examples that the proxy sees; the proxy's published number for the space by default.
        scheme: initialisation, of scoring and of training.
        store: where scores are looked up first and kept; None keeps them in the search's own state only.
        pool: workers that compute ahead what a method says it will ask for (:mod:`jknas.search.ahead`); None computes in this process.
        measured: the scores of several proxies for a pool (:mod:`jknas.search.measured`), for methods that mix them.

    Raises:
        SearchError: parts that do not fit each other.
        ProxyError: a setting that the proxy does not have, or a network that lacks a capability.
        ValueError: an unknown initialisation.
    """

    space: Space
    dataset: Dataset
    network: Network
    recipe: AnyRecipe
    seed: int
    proxy: Proxy = field(default_factory=lambda: proxies.get("mgm"))
    aggregate: Aggregate | None = None
    score_seeds: int = 1
    settings: Mapping[str, Setting] = field(default_factory=dict)
    batch_size: int | None = None
    scheme: Scheme = "pytorch"
    store: Store | None = None
    pool: Pool | None = None
    measured: Measured | None = None

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        check_seed(self.seed)
        check_measured(self.measured)
        kind = type(self.network).__name__
        if isinstance(macro := macro_of(self.space), type) and not isinstance(self.network, macro):
            raise SearchError(
                f"the network is a {kind}, and the space {self.space.name!r} has a {macro.__name__}: make it with families.network_for."
            )
        check_fit(self.network, self.dataset, error=SearchError)
        check_count("score_seeds", self.score_seeds)
        count = len(self.dataset.y_train)
        for proxy in self.members:
            proxy.check(self.network, self.settings_of(proxy))
            size = self.examples_of(proxy)
            if isinstance(proxy, NetworkProxy) and (size < 1 or (proxy.setup.once and size > count)):
                raise SearchError(f"the proxy's batch has {size} examples; {self.dataset.name} has {count} to train on: choose 1..{count}.")

    @property
    def members(self) -> tuple[Proxy, ...]:
        """The proxies that are computed."""
        return (self.proxy,) if self.aggregate is None else tuple(map(proxies.get, self.aggregate.members))

    def given_to(self, proxy: Proxy) -> dict[str, Setting]:
        """Return the overrides that reach one of the members.

        Raises:
            ProxyError: a setting that none of them has.
        """
        if self.aggregate is None:
            return dict(self.settings)
        for name in self.settings:
            if not any(name in member.settings for member in self.members):
                self.members[0].with_settings({name: self.settings[name]})  # refuses it
        return {name: value for name, value in self.settings.items() if name in proxy.settings}

    def settings_of(self, proxy: Proxy) -> dict[str, Setting]:
        """Return the settings of one of the members, defaults included."""
        return proxy.with_settings(self.given_to(proxy), self.network)

    def examples_of(self, proxy: Proxy) -> int:
        """Return how many examples one of the members sees."""
        return proxy.examples(self.network) if self.batch_size is None else self.batch_size

    @property
    def sign(self) -> int:
        """1 where a higher score is better, otherwise -1."""
        return 1 if is_pooled(self) or self.proxy.higher_is_better else -1

    @property
    def images(self) -> Dataset:
        """The data set."""
        return self.dataset

    def evaluator(
        self,
        *,
        folder: Path | None = None,
        on_compile: Callable[[str], None] | None = None,
        on_epoch: Callable[[Any, Any], None] | None = None,
    ) -> TrainingEvaluator:
        """Return what scores and trains for the steps of a search."""
        return TrainingEvaluator(self, folder=folder, on_compile=on_compile, on_epoch=on_epoch)

    def check_training(self) -> None:
        """Raise TrainingError for a recipe by which the networks cannot be trained."""
        check_recipe(self.network, self.recipe, self.dataset)

    def rungs(self, published: Sequence[int]) -> tuple[int, ...]:
        """Return the same shares of the recipe's epochs as the published rungs have of the last one, at least one epoch."""
        return tuple(max(1, round(self.recipe.epochs * epochs / published[-1])) for epochs in published)

    def parameters(self, genotype: Any) -> int:
        """Return the number of trainable parameters of an architecture's network."""
        return parameter_count(self.space, genotype, self.network, self.dataset.resolution)

    def macs(self, genotype: Any) -> float:
        """Return the multiply-accumulates of an architecture's network for one image."""
        return mac_count(self.space, genotype, self.network, self.dataset.resolution)

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever a result may. Store and workers are not among them."""
        return {
            "space": self.space.name,
            "dataset": {"name": self.dataset.name, "source": self.dataset.source, "digest": self.dataset.digest},
            "network": {
                **facts_of(self.network),
                "input_channels": self.network.input_channels,
                "resolution": self.dataset.resolution,
                "init": self.scheme,
            },
            "proxy": pooled_identity(self, [self._computed(proxy) for proxy in self.members]),
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
            **self._measured_identity,
        }

    @cached_property
    def _measured_identity(self) -> dict[str, Any]:
        return identity_of(self.measured)

    def _computed(self, proxy: Proxy) -> dict[str, Any]:
        size = self.examples_of(proxy)
        return {"name": proxy.name, "revision": proxy.revision, "batch": size, "settings": self.settings_of(proxy)}
