"""Properties that every distance and pooling keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from soo_jax.overlap import DISTANCES, kl, kl_batchmean, linear_cka, log_mse, mse, normalised_mse, relative_mse
from soo_jax.overlap.pooling import aligned, last, mean, pooled

ZERO_ON_EQUAL = [name for name in DISTANCES if name != "log_mse"]
SYMMETRIC = [name for name in DISTANCES if name not in ("kl", "kl_batchmean")]
values = st.floats(-4, 4, width=32)


def sides(rows=5, width=4):
    return arrays(np.float32, (2, rows, width), elements=values)


def masks(rows=5):
    return arrays(bool, rows).filter(lambda mask: mask.sum() >= 2)


@pytest.mark.parametrize("name", ZERO_ON_EQUAL)
@settings(deadline=None, max_examples=20)
@given(xy=sides(), mask=masks())
def test_equal_sides_are_at_distance_zero(name, xy, mask):
    # CKA has no value for a side without spread.
    xy = xy + (np.arange(20).reshape(5, 4) % 7 if name == "linear_cka" else 0)
    assert abs(float(DISTANCES[name](xy[0], xy[0], mask))) < 1e-5


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(deadline=None, max_examples=20)
@given(xy=sides(), mask=masks())
def test_symmetric_distances_are_symmetric(name, xy, mask):
    distance = DISTANCES[name]
    np.testing.assert_allclose(distance(xy[0], xy[1], mask), distance(xy[1], xy[0], mask), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
@settings(deadline=None, max_examples=20)
@given(xy=sides(), mask=masks(), rubbish=st.sampled_from([1e30, np.nan, np.inf, -7.0]))
def test_what_is_masked_out_has_no_influence(name, xy, mask, rubbish):
    distance = DISTANCES[name]
    spoiled = np.where(mask[:, None], xy, np.float32(rubbish))
    np.testing.assert_allclose(distance(*spoiled, mask), distance(*xy, mask), rtol=1e-5, atol=1e-6)
    grads = jax.grad(lambda x: distance(x, spoiled[1], mask))(spoiled[0])
    assert np.isfinite(np.asarray(grads)[mask]).all()
    assert (np.asarray(grads)[~mask] == 0).all()


@pytest.mark.parametrize("name", DISTANCES)
@settings(deadline=None, max_examples=10)
@given(xy=arrays(np.float32, (3, 2, 5, 4), elements=values), mask=masks())
def test_distances_are_the_same_under_jit_and_vmap(name, xy, mask):
    distance = DISTANCES[name]
    one_by_one = jnp.stack([distance(x, y, mask) for x, y in xy])
    together = jax.jit(jax.vmap(lambda pair: distance(pair[0], pair[1], mask)))(xy)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_bfloat16_stays_finite_at_large_activations(name):
    x = (jax.random.normal(jax.random.key(0), (6, 32)) * 300).astype(jnp.bfloat16)
    y = (jax.random.normal(jax.random.key(1), (6, 32)) * 300).astype(jnp.bfloat16)
    value, grad = jax.value_and_grad(lambda a: DISTANCES[name](a, y, jnp.ones(6, bool)))(x)
    assert value.dtype == jnp.float32
    assert np.isfinite(float(value))
    assert np.isfinite(np.asarray(grad, np.float32)).all()


def test_distances_have_their_textbook_values():
    x, y, both = jnp.array([[0.0, 2.0], [1.0, 1.0]]), jnp.array([[0.0, 0.0], [1.0, 4.0]]), jnp.ones(2, bool)
    assert float(mse(x, y, both)) == pytest.approx((4 / 2 + 9 / 2) / 2)
    assert float(log_mse(x, y, both)) == pytest.approx(np.log(3.25))
    assert float(relative_mse(x, y, both)) == pytest.approx(3.25 / ((4 + 2) / 4 / 2 + (0 + 17) / 4 / 2))
    p, q = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    expected = float(np.sum(p * np.log(p / q)))
    assert float(kl(jnp.log(p)[None], jnp.log(q)[None], jnp.ones(1, bool))) == pytest.approx(expected, rel=1e-5)
    logits = jnp.log(p)[None, None].repeat(3, 1), jnp.log(q)[None, None].repeat(3, 1)
    assert float(kl_batchmean(*logits, jnp.ones((1, 3), bool))) == pytest.approx(3 * expected, rel=1e-5)


def test_normalised_mse_does_not_fall_when_all_activations_shrink():
    x, y = jax.random.normal(jax.random.key(0), (2, 8, 4))
    mask = jnp.ones(8, bool)
    assert float(normalised_mse(x / 100, y / 100, mask)) == pytest.approx(float(normalised_mse(x, y, mask)), rel=1e-3)
    assert float(mse(x / 100, y / 100, mask)) < 1e-3


def test_cka_is_blind_to_rotation_and_scale():
    x = jax.random.normal(jax.random.key(0), (9, 4))
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (4, 4)))
    assert float(linear_cka(x, 3 * x @ turn, jnp.ones(9, bool))) == pytest.approx(0, abs=1e-4)
    other = jax.random.normal(jax.random.key(2), (9, 4))
    assert float(linear_cka(x, other, jnp.ones(9, bool))) > 0.2


lengths = st.integers(1, 6)


@settings(deadline=None, max_examples=40)
@given(
    own=lengths,
    other=lengths,
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    tokens=st.sampled_from(["last", "all", "mean"]),
)
def test_padding_on_either_side_changes_no_pooled_distance(own, other, pads, tokens):
    rng = np.random.default_rng(own * 10 + other)
    x, y = rng.normal(size=(1, own, 3)), rng.normal(size=(1, other, 3))

    def padded(a, left, right):
        mask = np.zeros((1, left + a.shape[1] + right), bool)
        mask[:, left : left + a.shape[1]] = True
        return np.pad(a, ((0, 0), (left, right), (0, 0)), constant_values=9.0), mask

    plain = pooled(*padded(x, 0, 0), *padded(y, 0, 0), tokens)
    moved = pooled(*padded(x, *pads[:2]), *padded(y, *pads[2:]), tokens)
    np.testing.assert_allclose(mse(*moved), mse(*plain), rtol=1e-5, atol=1e-7)
    assert float(plain[2].sum()) == (min(own, other) if tokens == "all" else 1)


def test_sides_of_unequal_length_are_paired_from_their_ends():
    x, y = jnp.arange(3.0).reshape(1, 3, 1), 10 + jnp.arange(5.0).reshape(1, 5, 1)
    a, b, mask = aligned(x, jnp.ones((1, 3), bool), y, jnp.ones((1, 5), bool))
    np.testing.assert_array_equal(a[0, :, 0], [0, 1, 2])
    np.testing.assert_array_equal(b[0, :, 0], [12, 13, 14])
    assert mask.all()


def test_pooling_reads_text_only():
    x = jnp.arange(8.0).reshape(2, 4, 1)
    mask = jnp.array([[True, True, True, False], [False, True, True, True]])
    np.testing.assert_array_equal(last(x, mask)[0][:, 0], [2, 7])
    np.testing.assert_array_equal(mean(x, mask)[0][:, 0], [1, 6])
    layers = jnp.stack([x, 2 * x])
    np.testing.assert_array_equal(last(layers, mask)[0][..., 0], [[2, 7], [4, 14]])
    assert not last(x, jnp.zeros((2, 4), bool))[1].any()
