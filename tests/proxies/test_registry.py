"""The registry finds its files, and what a proxy asks of a network that a user writes."""

import dataclasses
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs

from jknas import proxies
from jknas.errors import ProxyError
from jknas.networks.families import CAPABILITIES
from jknas.networks.nasbench201.network import CellNetwork
from jknas.proxies import NetworkProxy, SizeProxy
from jknas.scoring.scorer import make_scorer, sharing

CAPABLE = {
    **dict.fromkeys(
        ("apd", "az_expressivity", "az_progressivity", "az_trainability", "fisher", "meco", "naswot", "near", "swap", "vkdnw", "zen"),
        "observable",
    ),
    **dict.fromkeys(("mgm_released", "mgm_released_aliased"), "torch_order"),
    "synflow": "normalisation_free",
    "tenas_condition": "tenas",
    "linear_regions": "thin",
}
"""The capability that each proxy needs by default; the others need none."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """A network with nothing but what every network has."""

    channels: int
    cells: int
    classes: int
    input_channels: int

    def init(self, key, *, scheme="pytorch"):
        del scheme
        first, second = jax.random.split(key)
        return {
            "edges": jax.random.normal(first, (6, 5, 24, self.channels)) / 10,
            "head": jax.random.normal(second, (self.channels, self.classes)),
        }

    def apply(self, params, x, wiring, *, statistics="example"):
        del statistics
        chosen = params["edges"][jnp.arange(6), wiring].sum(0)
        return jnp.tanh(x.reshape(len(x), -1)[:, 72:96] @ chosen) @ params["head"]


SPACE = dataclasses.replace(stubs.SPACE, name="plain", networks=Plain)


def test_every_file_is_one_proxy_of_its_name():
    shared = {"measurements", "proxy", "setup"}
    found = {module.name for module in pkgutil.iter_modules(proxies.__path__)}
    assert found - shared == set(proxies.names())
    for name in proxies.names():
        module = getattr(proxies, name)
        assert inspect.ismodule(module), "no module is shadowed by what it holds"
        assert module.PROXY is proxies.get(name)


@pytest.mark.parametrize("name", proxies.names())
def test_settings_are_the_keyword_arguments_of_the_function(name):
    proxy = proxies.get(name)
    if isinstance(proxy, SizeProxy):
        assert (proxy.settings, proxy.requires) == ({}, ())
        return
    parameters = inspect.signature(proxy.measure).parameters.values()
    keywords = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):  # else a function of any model, which gets the others
        assert keywords == set(proxy.settings)
    assert keywords <= set(proxy.settings)
    assert proxy.revision == 1
    assert {*proxy.requires, *(one for needs in proxy.requires_for.values() for one in needs.values())} <= set(CAPABILITIES)
    assert set(proxy.network_defaults) | set(proxy.requires_for) <= set(proxy.settings)


@pytest.mark.parametrize("name", proxies.names())
def test_a_network_of_a_user_is_scored_or_refused_with_what_to_write(name):
    proxy = proxies.get(name)
    if name in CAPABLE:
        method = CAPABILITIES[CAPABLE[name]][1].partition("(")[0]
        with pytest.raises(ProxyError, match=rf"proxy '{name}'.* '{CAPABLE[name]}', which Plain lacks: give the class the method {method}"):
            make_scorer(proxy, stubs.tiny_digits(), SPACE)
        return
    scorer = make_scorer(proxy, stubs.tiny_digits(), SPACE, channels=3, cells=1, batch_size=4)
    cells = stubs.SPACE.sample(np.random.default_rng(0), 4, unique=True)
    records = [scorer.score(cell) for cell in cells]
    assert {record.status for record in records} <= {"ok", "dead", "saturated"}
    assert name == "l2_norm" or len({record.score for record in records}) > 1


def test_a_network_may_have_its_own_defaults():
    class Batched(Plain):
        score_statistics = "batch"
        tenas_batch = 6

        def tenas_network(self):
            return self

    space = dataclasses.replace(SPACE, networks=Batched)
    assert make_scorer(proxies.get("mgm"), stubs.tiny_digits(), space, batch_size=4).settings["statistics"] == "batch"
    assert make_scorer(proxies.get("mgm"), stubs.tiny_digits(), SPACE, batch_size=4).settings["statistics"] == "example"
    assert make_scorer(proxies.get("tenas_condition"), stubs.tiny_digits(), space).batch_size == 6
    assert proxies.get("tenas_condition").examples(Plain) == 72


def test_a_setting_that_demands_more():
    synflow, plain = proxies.get("synflow"), Plain(1, 1, 10, 3)
    synflow.check(plain, {"normalisation": "all"})
    for value, capability in (("none", "normalisation_free"), ("reductions", "reductions")):
        synflow.check(CellNetwork(), {"normalisation": value})
        with pytest.raises(
            ProxyError, match=f"proxy 'synflow' with normalisation={value} needs the capability '{capability}', which Plain"
        ):
            synflow.check(plain, {"normalisation": value})


def test_proxies_that_share_a_measurement():
    scorers = [
        make_scorer(proxies.get(name), stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1, batch_size=4) for name in proxies.names()
    ]
    groups = [{scorer.proxy.name for scorer in group} for group in sharing(scorers)]
    assert [group for group in groups if len(group) > 1] == [
        {"az_expressivity", "az_progressivity", "az_trainability"},
        {"grad_norm", "l2_norm", "nasi", "plain", "snip"},
        {"label_gradient_alignment", "ntk_condition", "ntk_effective_rank", "ntk_frobenius", "ntk_lambda_min", "ntk_trace"},
    ]
    assert sum(isinstance(proxies.get(name), NetworkProxy) for name in proxies.names()) == 36
