"""Layer diagnosis on any model: sides of any lengths are aligned at their ends, and patches do what they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.llm.diagnose import MEASURES, PLACES, Contrasts, constant, layer_rows, patch

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
