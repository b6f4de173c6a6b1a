"""Terms, directions and the weighted objective."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.overlap import DISTANCES, View, anchored, language_model, mse, overlap, retain, weighted
from soo_jax.overlap.views import check_served


def views(own, other, text=None, base=None, tokens=None):
    mask = jnp.ones(own.shape[:2], bool)
    side = lambda x: View({"h": x}, mask)
    seen = {"self": side(own), "other": side(other)}
    for name, scores in (("text", text), ("base:text", base)):
        if scores is not None:
            seen[name] = View({"logits": scores}, mask, tokens)
    return seen


def random(seed, shape=(3, 4, 5)):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("tokens", ["last", "mean", "all"])
@pytest.mark.parametrize(("direction", "stopped"), [("other_to_self", 0), ("self_to_other", 1)])
def test_no_gradient_at_all_reaches_the_stopped_side(name, tokens, direction, stopped):
    term = overlap(DISTANCES[name], at="h", tokens=tokens, direction=direction)
    grads = jax.grad(lambda sides: term(views(*sides)))((random(0), random(1)))
    assert (np.asarray(grads[stopped]) == 0).all()
    assert (np.asarray(grads[1 - stopped]) != 0).any()


def test_an_anchored_term_draws_both_sides_to_where_the_self_side_was_and_sends_no_gradient_there():
    own, other, before = random(0), random(1), random(2)
    term = anchored(at="h")
    mask = jnp.ones(own.shape[:2], bool)
    seen = lambda sides: {
        name: View({"h": x}, mask) for name, x in zip(("self", "other", "base:self"), sides, strict=True)
    }
    grads = jax.grad(lambda sides: term(seen(sides)))((own, other, before))
    assert (np.asarray(grads[2]) == 0).all()
    for grad, side in zip(grads, (own, other), strict=False):
        step = side - before
        np.testing.assert_allclose(grad[:, -1], step[:, -1] / step[:, -1].size, atol=1e-6)
    assert float(term(seen((before, before, before)))) == 0.0 != float(term(seen((other, other, before))))
    assert weighted(a=(1.0, term)).still == frozenset()
    assert weighted(a=(1.0, term)).reads == {view: ("h",) for view in ("self", "other", "base:self")}


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_symmetric_term_moves_both_sides_towards_each_other(seed):
    own, other = random(seed), random(seed + 1)
    grads = jax.grad(lambda sides: overlap(at="h")(views(*sides)))((own, other))
    np.testing.assert_allclose(grads[0], -grads[1], atol=1e-6)


def test_several_layers_and_keys_are_averaged():
    own, other = random(0, (2, 3, 4, 5)), random(1, (2, 3, 4, 5))
    mask = jnp.ones((3, 4), bool)
    layered = {"self": View({"h": own}, mask), "other": View({"h": other}, mask)}
    single = [overlap(at="h")(views(own[i], other[i])) for i in range(2)]
    assert float(overlap(at="h")(layered)) == pytest.approx(float(sum(single)) / 2, rel=1e-5)
    both = {"self": View({"a": own[0], "b": own[1]}, mask), "other": View({"a": other[0], "b": other[1]}, mask)}
    assert float(overlap(at=("a", "b"))(both)) == pytest.approx(float(sum(single)) / 2, rel=1e-5)


def test_agents_without_tokens_use_the_same_term():
    own, other = random(0, (6, 5)), random(1, (6, 5))
    rows = jnp.arange(6) < 4
    seen = {"self": View({"hidden": own}, rows), "other": View({"hidden": other}, rows)}
    got = overlap(at="hidden", tokens=None)(seen)
    assert float(got) == pytest.approx(float(jnp.mean((own[:4] - other[:4]) ** 2)), rel=1e-5)


def test_the_objective_is_the_weighted_sum_and_names_its_metrics():
    tokens = jax.random.randint(jax.random.key(3), (3, 4), 0, 5)
    seen = views(random(0), random(1), random(2), random(4), tokens)
    objective = weighted(
        overlap=(2.0, overlap(at="h")),
        retain=(0.5, retain(soo.kl, at="logits")),
        lm=(0.1, language_model(at="logits")),
    )
    loss, metrics = objective(seen)
    assert list(metrics) == ["overlap", "retain", "lm"]
    assert float(loss) == pytest.approx(
        2.0 * float(metrics["overlap"]) + 0.5 * float(metrics["retain"]) + 0.1 * float(metrics["lm"]), rel=1e-5
    )
    assert objective.reads == {
        "self": ("h",),
        "other": ("h",),
        "base:text": ("logits",),
        "text": ("logits",),
    }
    changed, _ = objective(seen, {"lm": jnp.asarray(0.0)})
    assert float(changed) == pytest.approx(float(loss) - 0.1 * float(metrics["lm"]), rel=1e-5)


def test_retain_sends_no_gradient_into_the_base():
    seen = lambda base: views(random(0), random(1), random(2), base, None)
    grads = jax.grad(lambda base: retain(soo.kl, at="logits")(seen(base)))(random(4))
    assert (np.asarray(grads) == 0).all()


def test_language_model_is_cross_entropy_of_the_next_token():
    scores = jnp.log(jnp.array([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]]))
    tokens = jnp.array([[0, 0, 1]])
    view = View({"logits": scores}, jnp.array([[True, True, True]]), tokens)
    got = language_model(at="logits")({"text": view})
    assert float(got) == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2, rel=1e-5)


def test_an_objective_knows_which_side_no_term_moves():
    held = overlap(at="h", direction="other_to_self")
    assert weighted(a=(1.0, held)).still == {"self"}
    assert weighted(a=(1.0, held), b=(1.0, overlap(at="h"))).still == frozenset()


def test_terms_are_values():
    assert overlap(mse, at="h") == overlap(mse, at="h")
    assert hash(weighted(a=(1.0, overlap(at="h")))) == hash(weighted(a=(1.0, overlap(at="h"))))


def test_a_term_of_ones_own_needs_no_registration():
    @dataclass(frozen=True)
    class NormGap:
        at: str

        @property
        def reads(self):
            return (("self", self.at), ("other", self.at))

        def __call__(self, seen):
            norm = lambda view: jnp.linalg.norm(view.read[self.at][:, -1], axis=-1).mean()
            return jnp.abs(norm(seen["self"]) - norm(seen["other"]))

    loss, _ = weighted(gap=(1.0, NormGap("h")))(views(random(0), 2 * random(0)))
    assert float(loss) == pytest.approx(float(jnp.linalg.norm(random(0)[:, -1], axis=-1).mean()), rel=1e-5)
    assert isinstance(NormGap("h"), soo.Term)


def test_a_view_that_was_not_given_is_asked_for_by_name():
    with pytest.raises(SooError, match="view 'base:self': a term reads it, but it was not given; given"):
        weighted(a=(1.0, anchored(at="h")))(views(random(0), random(1)))


def test_a_view_that_a_trainer_does_not_serve_is_refused_by_name():
    check_served({"self": ("h",), "base:other": ("h",)}, ("self", "other"), "a trainer")
    with pytest.raises(SooError, match="view 'base:text': a trainer does not serve it; it serves self, other"):
        check_served({"base:text": ("h",)}, ("self", "other"), "a trainer")


@pytest.mark.parametrize("wrong", [dict(tokens="first"), dict(direction="up"), dict(direction="anchored")])
def test_unknown_settings_are_refused_in_one_line(wrong):
    with pytest.raises(SooError, match="choose"):
        overlap(at="h", **wrong)


def test_an_objective_without_terms_or_with_a_nan_weight_is_refused():
    with pytest.raises(SooError):
        weighted()
    with pytest.raises(SooError, match="finite"):
        weighted(a=(float("nan"), overlap(at="h")))


def test_the_facade_term_and_the_room_share_one_name():
    import soo_jax.overlap as room

    assert soo.overlap is room
    assert soo.overlap(soo.mse, at="h") == room.overlap(mse, at="h")
