"""The guard against backends that compute wrong matrix products: known cases, its refusal, and that it is asked once."""

import jax
import jax.numpy as jnp
import pytest

from jknas.kernels.mgm import mgm
from jknas.xla import soundness as selfcheck


@pytest.fixture
def unchecked():
    selfcheck.require_sound_backend.cache_clear()
    yield
    selfcheck.require_sound_backend.cache_clear()


def test_the_installed_backend_is_sound():
    assert selfcheck.faults() == []


@pytest.mark.usefixtures("unchecked")
def test_a_wrong_product_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(selfcheck, "_row_norms", lambda rows: (rows**2).sum(1).at[-1].multiply(0.99))
    with pytest.raises(selfcheck.UnsoundBackendError, match="wrong matrix products on this CPU: squared norms of 32769 rows") as error:
        mgm(lambda w, x: x @ w, jnp.ones((2, 1)), jnp.ones((3, 2)), objective="logits")
    assert "Install another release" in str(error.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("factor", [0.85, 1.7])
def test_a_wrong_gram_matrix_is_seen(monkeypatch, factor):
    right = selfcheck._fused_gram
    monkeypatch.setattr(selfcheck, "_fused_gram", lambda a, b: factor * right(a, b))
    assert len(selfcheck.faults()) == 2


@pytest.mark.usefixtures("unchecked")
def test_asked_once_and_inside_jit_too(monkeypatch):
    asked = []
    monkeypatch.setattr(selfcheck, "faults", lambda: asked.append(1) or [])
    score = jax.jit(lambda w, x: mgm(lambda w, x: x @ w, w, x, objective="logits"))
    assert float(score(jnp.ones((2, 1)), jnp.ones((3, 2)))) == pytest.approx(2.0)
    mgm(lambda w, x: x @ w, jnp.ones((2, 1)), jnp.ones((3, 2)), objective="logits")
    assert len(asked) == (1 if jax.default_backend() == "cpu" else 0)
