"""What the decoder promises beyond parity: probes, early stop, constant compile size, generation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from soo_jax.adapters import LoraConfig, init_lora, stack, unstack
from soo_jax.errors import SooError
from soo_jax.models.config import GLOBAL, DecoderConfig
from soo_jax.models.decoder import forward, init_params, logical_axes, param_shapes
from soo_jax.models.generate import LONG, Sampling, bucket, generate, shared_start, snug
from soo_jax.models.probes import attn_out, cheapest_pass, logits, mlp_out, residual


def tiny(layers=4, **changes):
    fields = dict(
        architecture="llama",
        vocab_size=61,
        width=16,
        mlp_width=32,
        num_layers=layers,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        max_positions=64,
        windows=(GLOBAL,) * layers,
    )
    return DecoderConfig(**{**fields, **changes})


@pytest.fixture(scope="module")
def model():
    config = tiny()
    params = init_params(config, jax.random.key(0))
    params["embedding"]["embedding"] = params["embedding"]["embedding"] * 50
    tokens = jax.random.randint(jax.random.key(1), (3, 9), 1, 61)
    mask = jnp.arange(9) >= jnp.array([0, 2, 5])[:, None]
    return config, params, tokens, mask


def random_lora(config, lora, seed):
    fresh = init_lora(config, lora, jax.random.key(seed))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(seed + 100), leaf.shape)
    return fresh.replace(b=jax.tree.map(noise, fresh.b))


def test_each_probe_reads_the_same_whatever_else_is_read(model):
    config, params, tokens, mask = model
    everything = (attn_out("all"), mlp_out("all"), residual("all"), logits())
    full = forward(config, params, tokens, mask, everything)
    for probe, expected in [
        (attn_out(2), full[attn_out("all")][2]),
        (attn_out((0, 3)), full[attn_out("all")][jnp.array([0, 3])]),
        (attn_out(-1), full[attn_out("all")][3]),
        (mlp_out(1), full[mlp_out("all")][1]),
        (residual((1, 2)), full[residual("all")][1:3]),
        (logits(), full[logits()]),
    ]:
        alone = forward(config, params, tokens, mask, (probe,))[probe]
        assert alone.shape == expected.shape
        np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_mixed_probes_come_from_one_pass(model):
    config, params, tokens, mask = model
    both = forward(config, params, tokens, mask, (mlp_out(0), attn_out((1, 2))))
    np.testing.assert_allclose(
        both[attn_out((1, 2))][1], forward(config, params, tokens, mask, (attn_out(2),))[attn_out(2)], atol=1e-5
    )


def flops(config, probe):
    """FLOPs of the compiled pass, every layer counted (XLA counts a loop's body once, so depth is unrolled)."""
    params = param_shapes(config)
    tokens, mask = jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), jnp.bool_)
    lowered = jax.jit(lambda p, t, m: forward(config, p, t, m, (probe,))).lower(params, tokens, mask)
    text = lowered.compile().as_text()
    return lowered.compile().cost_analysis()["flops"], text


def test_the_compiled_pass_stops_after_the_deepest_probed_layer():
    config = tiny(layers=12, vocab_size=5000)
    early, _ = flops(config, attn_out(0))
    whole, _ = flops(config, logits())
    layer_zero_attention = 2 * 2 * 8 * (16 * 16 * 2 + 16 * 8 * 2) + 2 * 2 * 8 * 8 * 16 * 2
    assert layer_zero_attention <= early < 2.0 * layer_zero_attention, "no MLP, no other layer, no logits"
    assert whole > 2 * 2 * 8 * 16 * 5000, "the whole pass computes logits"


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_the_scan_runs_as_many_layers_as_the_probe_needs(layer):
    config = tiny(layers=8)
    jaxpr = jax.make_jaxpr(
        lambda p, t, m: forward(config, p, t, m, (attn_out(layer),)),
    )(param_shapes(config), jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), jnp.bool_))
    (whole,) = (eqn.params["jaxpr"] for eqn in jaxpr.eqns if eqn.primitive.name in ("jit", "pjit"))
    lengths = [eqn.params["length"] for eqn in whole.eqns if eqn.primitive.name == "scan"]
    assert lengths == ([layer] if layer else [])


def test_the_program_does_not_grow_with_depth():
    def size(layers):
        config = tiny(layers=layers)
        args = (param_shapes(config), jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), bool))
        return len(jax.jit(lambda p, t, m: forward(config, p, t, m)).lower(*args).as_text())

    assert size(40) < 1.1 * size(4)


def test_remat_changes_no_gradient(model):
    config, params, tokens, mask = model

    def loss(params, remat):
        return jnp.sum(forward(config, params, tokens, mask, remat=remat)[logits()] ** 2) / 1e3

    plain, recomputed = (jax.grad(loss)(params, remat) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, recomputed)


def test_every_weight_has_logical_axis_names(model):
    config, params, _, _ = model
    axes = logical_axes(config)
    jax.tree.map(lambda leaf, names: len(names) == leaf.ndim or pytest.fail(str(names)), params, axes)


def test_a_probe_beyond_the_model_is_refused_in_one_line(model):
    config, params, tokens, mask = model
    with pytest.raises(SooError, match="layer 4 is out of range: this model has 4 layers, 0 to 3"):
        forward(config, params, tokens, mask, (attn_out(4),))
    assert cheapest_pass((attn_out(1),), 4).depth == 1


def test_explicit_attention_isolates_packed_questions(model):
    config, params, tokens, _ = model
    """Two questions under one context, packed in a row, read like each question alone behind that context."""
    context, first, second = tokens[0][None, :4], tokens[1][None, :3], tokens[2][None, :2]
    packed = jnp.concatenate([context, first, second], axis=1)
    block = jnp.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    positions = jnp.array([[0, 1, 2, 3, 4, 5, 6, 4, 5]])
    order = jnp.arange(9)
    attend = (order[:, None] >= order) & ((block[None] == 0) | (block[None] == block[:, None]))
    got = forward(config, params, packed, jnp.ones((1, 9), bool), positions=positions, attend=attend[None])[logits()]
    for part, where in ((first, slice(4, 7)), (second, slice(7, 9))):
        alone = jnp.concatenate([context, part], axis=1)
        expected = forward(config, params, alone, jnp.ones(alone.shape, bool))[logits()]
        np.testing.assert_allclose(got[0, where], expected[0, 4:], atol=1e-4)


def test_a_row_ends_at_its_stop_token_and_stays_padded(model):
    config, params, tokens, mask = model
    free = generate(config, params, tokens, mask, jax.random.key(0), max_new_tokens=12, stop_tokens=()).tokens
    stop = int(free[0, 3])
    got = generate(
        config, params, tokens, mask, jax.random.key(0), max_new_tokens=12, stop_tokens=(stop,), pad_token=60
    ).tokens
    for row in range(3):
        hits = np.flatnonzero(np.asarray(free[row]) == stop)
        end = hits[0] + 1 if hits.size else 12
        np.testing.assert_array_equal(got[row, :end], free[row, :end])
        assert (np.asarray(got[row, end:]) == 60).all()


@pytest.mark.parametrize("stacked", [False, True], ids=["one adapter", "a stack over upper layers"])
def test_prompts_that_begin_alike_are_continued_as_whole_ones_are(model, stacked):
    config, params, tokens, mask = model
    begin = jnp.asarray([7, 9, 11, 3, 5])
    whole = jnp.concatenate([jnp.zeros_like(begin)[None].repeat(3, 0), tokens], axis=1)
    seen = jnp.concatenate([jnp.zeros((3, 5), bool), mask], axis=1)
    for row in range(3):
        at = int(jnp.argmax(seen[row]))
        whole, seen = whole.at[row, at - 5 : at].set(begin), seen.at[row, at - 5 : at].set(True)
    loras = [random_lora(config, LoraConfig(rank=2, targets=("q", "down"), layers=(2,)), seed) for seed in range(2)]
    own = {"adapters": stack(loras), "stacked": True, "first": 2} if stacked else {"adapters": loras[0]}
    ask = partial(generate, config, params, key=jax.random.key(0), max_new_tokens=6, stop_tokens=(), **own)
    np.testing.assert_array_equal(ask(tokens, mask, prefix=begin).tokens, ask(whole, seen).tokens)


def test_what_all_rows_begin_with_is_whole_eights_and_leaves_each_row_a_token():
    row = list(range(40))
    assert shared_start([row]) == 0
    assert shared_start([row, [*row[:17], 99]]) == 16
    assert shared_start([row[:16], row]) == 8
    assert shared_start([row[:3], row]) == 0


def test_a_stack_of_adapters_answers_as_each_adapter_alone(model):
    config, params, tokens, mask = model
    adapters = [random_lora(config, LoraConfig(rank=2, targets=("q", "v", "down")), seed) for seed in range(3)]
    args = (config, params, tokens, mask, jax.random.key(0))
    together = generate(*args, max_new_tokens=6, stop_tokens=(), adapters=stack(adapters), stacked=True).tokens
    for i, adapter in enumerate(unstack(stack(adapters))):
        alone = generate(*args, max_new_tokens=6, stop_tokens=(), adapters=adapter).tokens
        np.testing.assert_array_equal(together[i], alone)
    assert (np.asarray(together[0]) != np.asarray(together[1])).any()


@pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
def test_rows_that_are_done_make_room_and_nothing_else_changes(model, stacked):
    config, params, _, _ = model
    tokens = jax.random.randint(jax.random.key(1), (24, 3), 0, config.vocab_size)
    loras = stack([random_lora(config, LoraConfig(rank=2), seed) for seed in range(2)]) if stacked else None
    ask = partial(
        generate, config, params, tokens, jnp.ones(tokens.shape, bool), jax.random.key(0), max_new_tokens=LONG,
        stop_tokens=tuple(range(4)), sampling=Sampling(1.0), adapters=loras, stacked=stacked,
    )  # fmt: skip
    fed = lambda **own: set(_loops(jax.make_jaxpr(partial(ask, **own))().jaxpr))
    assert (fed(), fed(makes_room=False)) == ({24, 12}, {24})
    room, none = ask(), ask(makes_room=False)
    np.testing.assert_array_equal(room.tokens, none.tokens)
    np.testing.assert_array_equal(room.finite, none.finite)
    ends = (np.asarray(none.tokens) != 0).sum(-1).reshape(-1)
    assert np.quantile(ends, 0.4) < np.quantile(ends, 0.9), "the rows end together: this test would show nothing"


def _loops(jaxpr):
    """How many rows each ``while_loop`` of a program feeds: as many as it carries marks of being done."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            body = equation.params["body_jaxpr"].jaxpr
            carried = [v.aval for v in body.invars[equation.params["body_nconsts"] :]]
            yield next(one.shape[-1] for one in carried if one.dtype == bool)
        for inner in jaxprs_in_params(equation.params):
            yield from _loops(inner)


def test_top_p_never_leaves_the_likeliest_mass(model):
    config, params, tokens, mask = model
    greedy = generate(config, params, tokens, mask, jax.random.key(0), max_new_tokens=1, stop_tokens=()).tokens
    narrow, wide = (
        np.stack(
            [
                generate(
                    config, params, tokens, mask, jax.random.key(i), max_new_tokens=1, stop_tokens=(), sampling=sampling
                ).tokens
                for i in range(20)
            ]
        )
        for sampling in (Sampling(1.0, 1e-6), Sampling(5.0, 1.0))
    )
    assert (narrow == np.asarray(greedy)).all()
    assert len(np.unique(wide)) > 5


def test_snug_widths_hold_every_length_waste_a_sixteenth_at_most_and_are_few():
    widths = [snug(n, 4096) for n in range(1, 1025)]
    assert all(n <= width < n + max(8, n / 16) for n, width in enumerate(widths, 1))
    assert len(set(widths)) <= 64 and snug(100, 101) == 101


def test_buckets_hold_every_length_and_are_few():
    widths = {bucket(n) for n in range(1, 513)}
    assert all(bucket(n) >= n for n in range(1, 513))
    assert len(widths) <= 14
