"""Layer diagnosis on any model: sides of any lengths are aligned at their ends, and patches do what they should."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.llm.diagnose import MEASURES, PLACES, Contrasts, constant, layer_rows, margins_together, patch
from soo_jax.models.config import Rope
from soo_jax.models.decoder import run_layers, text_positions, unembed
from soo_jax.models.layers import Block, Embedding
from soo_jax.models.probes import cheapest_pass

PAIRS = [
    soo.Pair(
        "you want the vase . a coin is in the study . where ?",
        "bob wants the old vase . a coin is in the study . where ?",
    ),
    soo.Pair("a lamp is in the attic . you want it . where ?", "a lamp is in the attic . bob wants it . where ?"),
    soo.Pair("the cellar . you ?", "the cellar . bob ?"),
]


@pytest.fixture(scope="module")
def contrasts(mistral):
    words = mistral.tokenizer.get_vocab()
    return Contrasts.of(mistral, PAIRS, [words["study"]] * 3, [words["kitchen"]] * 3)


def scores(lm, texts):
    """Logits behind each text, one unpadded text at a time."""
    rows = [jnp.asarray([row]) for row in lm.token_ids(texts)]
    return [lm.forward(lm.params, row, jnp.ones(row.shape, bool))[soo.logits()][0, -1] for row in rows]


def test_the_recipient_is_the_last_token_in_which_the_sides_differ(mistral, contrasts):
    words = mistral.tokenizer.get_vocab()
    at = np.arange(3), np.asarray(contrasts.recipient)
    own, other = (np.asarray(contrasts.tokens[side])[at] for side in ("self", "other"))
    assert (own != other).all()
    assert other[2] == words["bob"] and own[2] == words.get("you", words["<unk>"])
    for row, place in zip(range(3), at[1], strict=True):
        behind = [np.asarray(contrasts.tokens[side])[row, place + 1 :] for side in ("self", "other")]
        np.testing.assert_array_equal(*behind)


def test_the_answers_place_patched_behind_the_last_layer_gives_the_self_sides_answer(mistral, contrasts):
    own = [s[contrasts.right[0]] > s[contrasts.wrong[0]] for s in scores(mistral, [pair.self_text for pair in PAIRS])]
    other = [
        s[contrasts.right[0]] > s[contrasts.wrong[0]] for s in scores(mistral, [pair.other_text for pair in PAIRS])
    ]
    assert patch(mistral, contrasts, "answer")[-1] == pytest.approx(np.mean(own))
    assert patch(mistral, contrasts, "recipient")[-1] == pytest.approx(np.mean(other)), "nobody reads it any more"


def test_every_measure_is_there_for_every_layer_and_site(mistral, contrasts):
    rows = layer_rows(mistral, contrasts, contrasts, PAIRS, PAIRS)
    assert [row["layer"] for row in rows] == list(range(mistral.config.num_layers))
    assert set(PLACES) < set(MEASURES)
    for row in rows:
        assert all(any(name.startswith((measure, f"patch_{measure}")) for name in row) for measure in MEASURES)
        assert all(np.isfinite(value) for value in row.values())
    assert all(0.0 <= value <= 1.0 for value in constant(mistral, contrasts))
    jax.clear_caches()


def test_pairs_without_a_difference_and_no_pairs_are_refused(mistral):
    with pytest.raises(SooError, match="pair 2: its two texts are the same to the tokenizer"):
        Contrasts.of(mistral, [PAIRS[0], soo.Pair("bob ?", "bob ?")], [1, 1], [2, 2])
    with pytest.raises(SooError, match="contrasts: no pairs given"):
        Contrasts.of(mistral, [], [], [])


def naive_patch(lm, contrasts, layer, place, also=()):
    """Share of contrasts made right: the whole text is run again behind the patched layer, one layer at a time; with
    the attention of the layers ``also`` patched as well."""
    config, mask = lm.config, contrasts.mask["other"]
    last = np.full(len(mask), mask.shape[1] - 1)
    at = {"recipient": np.asarray(contrasts.recipient), "question": np.asarray(contrasts.recipient) + 1}.get(
        place, last
    )
    chosen = (np.arange(mask.shape[1]) == at[:, None])[..., None]
    behind, attention = soo.residual(layer), soo.attn_out(layer)
    run = lambda side, probe: lm.forward(lm.params, contrasts.tokens[side], contrasts.mask[side], (probe,))[probe]
    mixed = lambda probe: jnp.where(chosen, run("self", probe), run("other", probe))
    if place == "attention":
        words = Embedding(config).apply({"params": lm.params["embedding"]}, contrasts.tokens["other"], method="embed")
        before = run("other", soo.residual(layer - 1)) if layer else words
        weights = {"params": jax.tree.map(lambda leaf: leaf[layer], lm.params["layers"])}
        x = Block(config).apply(weights, before, mixed(attention), method="finish")[0]
    else:
        x = mixed(behind)
    positions, order = text_positions(mask), jnp.arange(mask.shape[1])
    attend = (order[:, None] >= order) & mask[:, None, :]
    for later in range(layer + 1, config.num_layers):
        alone = replace(
            config, num_layers=1, windows=config.windows[later : later + 1],
            layer_ropes=config.layer_ropes and config.layer_ropes[later : later + 1],
        )  # fmt: skip
        weights = jax.tree.map(lambda leaf, i=later: leaf[i : i + 1], lm.params["layers"])
        todo = cheapest_pass((soo.residual(0), soo.attn_out(0)), 1)
        after, read, *_ = run_layers(alone, weights, x, positions, positions, attend, todo)
        if later in also:
            taken = jnp.where(chosen, run("self", soo.attn_out(later)), read["attn_out"][0])
            one = {"params": jax.tree.map(lambda leaf: leaf[0], weights)}
            after = Block(config).apply(one, x, taken, method="finish")[0]
        x = after
    out = unembed(config, lm.params, x[:, -1])
    rows = jnp.arange(len(out))
    return float(jnp.mean(out[rows, contrasts.right] > out[rows, contrasts.wrong]))


def test_patching_all_layers_together_gives_what_one_at_a_time_gives(mistral):
    ropes, windows = (Rope(), Rope(theta=1e3), Rope(kind="none"), Rope()), (5, 1_000_000, 7, 1_000_000)
    odd = replace(mistral, config=replace(mistral.config, windows=windows, layer_ropes=ropes))
    rng = np.random.default_rng(0)
    words = sorted(word for word in mistral.tokenizer.get_vocab() if word.isalpha())
    pairs = []
    for _ in range(24):
        head, tail = (" ".join(rng.choice(words, 6)) for _ in range(2))
        pairs.append(soo.Pair(f"{head} you {tail}", f"{head} bob {tail}"))
    right, wrong = (rng.integers(low, low + 18, 24) for low in (4, 22))
    contrasts = Contrasts.of(odd, pairs, right, wrong)
    for place in PLACES:
        naive = [naive_patch(odd, contrasts, layer, place) for layer in range(odd.config.num_layers)]
        assert patch(odd, contrasts, place) == pytest.approx(naive), place
        assert 0 < min(naive) < 1
    sets = [(0,), (0, 1), (1, 2, 3), (0, 3), (0, 2)]
    naive = [naive_patch(odd, contrasts, min(own), "attention", own) for own in sets]
    together = margins_together(odd, contrasts, sets)
    assert (together > 0).mean(axis=1) == pytest.approx(naive) and len(set(naive)) > 1
    turned = replace(
        contrasts,
        **{
            name: dict(
                zip(("self", "other"), (getattr(contrasts, name)[side] for side in ("other", "self")), strict=True)
            )
            for name in ("tokens", "mask")
        },
    )
    np.testing.assert_allclose(margins_together(odd, turned, sets, into="self"), together, atol=1e-4)
    jax.clear_caches()


def test_no_layer_leaves_a_text_as_it_is_and_all_layers_make_it_the_other_one(mistral, contrasts):
    every = range(mistral.config.num_layers)
    rows = np.arange(len(contrasts.right))
    plain = {}
    for side in ("self", "other"):
        out = mistral.forward(mistral.params, contrasts.tokens[side], contrasts.mask[side], (soo.logits(),))
        last = np.asarray(out[soo.logits()])[:, -1]
        plain[side] = last[rows, contrasts.right] - last[rows, contrasts.wrong]
    none, all_of_them = margins_together(mistral, contrasts, [(), every])
    np.testing.assert_allclose(none, plain["other"], atol=1e-4)
    ends_alike = np.asarray(contrasts.tokens["self"][:, -1] == contrasts.tokens["other"][:, -1])
    assert ends_alike.any()
    np.testing.assert_allclose(all_of_them[ends_alike], plain["self"][ends_alike], atol=1e-4)
