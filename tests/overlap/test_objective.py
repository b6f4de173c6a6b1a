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
from soo_jax.overlap import DISTANCES, View, Views, language_model, mse, overlap, retain, weighted


def views(own, other, text=None, base=None, tokens=None):
    mask = jnp.ones(own.shape[:2], bool)
    side = lambda x: View({"h": x}, mask)
    return Views(
        side(own),
        side(other),
        None if text is None else View({"logits": text}, mask, tokens),
        None if base is None else View({"logits": base}, mask, tokens),
    )


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
    term = overlap(at="h", direction="anchored")
    mask = jnp.ones(own.shape[:2], bool)
    seen = lambda sides: Views(*(View({"h": x}, mask) for x in sides[:2]), base_self=View({"h": sides[2]}, mask))
    grads = jax.grad(lambda sides: term(seen(sides)))((own, other, before))
    assert (np.asarray(grads[2]) == 0).all()
    for grad, side in zip(grads, (own, other), strict=False):
        step = side - before
        np.testing.assert_allclose(grad[:, -1], step[:, -1] / step[:, -1].size, atol=1e-6)
    assert float(term(seen((before, before, before)))) == 0.0 != float(term(seen((other, other, before))))
    assert weighted(a=(1.0, term)).still == frozenset()
    assert weighted(a=(1.0, term)).reads == {view: ("h",) for view in ("self_view", "other_view", "base_self")}


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_symmetric_term_moves_both_sides_towards_each_other(seed):
    own, other = random(seed), random(seed + 1)
    grads = jax.grad(lambda sides: overlap(at="h")(views(*sides)))((own, other))
    np.testing.assert_allclose(grads[0], -grads[1], atol=1e-6)


def test_several_layers_and_keys_are_averaged():
    own, other = random(0, (2, 3, 4, 5)), random(1, (2, 3, 4, 5))
    mask = jnp.ones((3, 4), bool)
    layered = Views(View({"h": own}, mask), View({"h": other}, mask))
    single = [overlap(at="h")(views(own[i], other[i])) for i in range(2)]
    assert float(overlap(at="h")(layered)) == pytest.approx(float(sum(single)) / 2, rel=1e-5)
    both = Views(View({"a": own[0], "b": own[1]}, mask), View({"a": other[0], "b": other[1]}, mask))
    assert float(overlap(at=("a", "b"))(both)) == pytest.approx(float(sum(single)) / 2, rel=1e-5)


def test_agents_without_tokens_use_the_same_term():
    own, other = random(0, (6, 5)), random(1, (6, 5))
    rows = jnp.arange(6) < 4
    got = overlap(at="hidden", tokens=None)(Views(View({"hidden": own}, rows), View({"hidden": other}, rows)))
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
        "self_view": ("h",),
        "other_view": ("h",),
        "base_text": ("logits",),
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
    empty = View({}, view.mask)
    got = language_model(at="logits")(Views(empty, empty, view))
    assert float(got) == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2, rel=1e-5)


def test_an_objective_knows_which_side_no_term_moves():
    held = overlap(at="h", direction="other_to_self")
    assert weighted(a=(1.0, held)).still == {"self_view"}
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
            return (("self_view", self.at), ("other_view", self.at))

        def __call__(self, seen):
            norm = lambda view: jnp.linalg.norm(view.read[self.at][:, -1], axis=-1).mean()
            return jnp.abs(norm(seen.self_view) - norm(seen.other_view))

    loss, _ = weighted(gap=(1.0, NormGap("h")))(views(random(0), 2 * random(0)))
    assert float(loss) == pytest.approx(float(jnp.linalg.norm(random(0)[:, -1], axis=-1).mean()), rel=1e-5)
    assert isinstance(NormGap("h"), soo.Term)


@pytest.mark.parametrize("wrong", [dict(tokens="first"), dict(direction="up")])
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
