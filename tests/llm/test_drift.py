"""Drift on ordinary texts: what one would compute by hand from the logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.llm.controls import steered
from soo_jax.llm.drift import drift_rows
from soo_jax.models.probes import logits
from soo_jax.tasks.english.ordinary import ORDINARY_TEXTS

TEXTS = ["bob wants the vase . a coin is in the study .", "you ?", "the cellar , the attic and a lamp"]


def scores(lm, text, lora=None):
    row = jnp.asarray(lm.token_ids([text]))
    out = lm.forward(lm.params, row, jnp.ones(row.shape, bool), (logits(),), adapters=lora)[logits()][0]
    return np.asarray(jax.nn.log_softmax(out[:-1])), np.asarray(row)[0, 1:]


@pytest.fixture(scope="module", params=[None, (1,)], ids=["all layers", "an upper layer"])
def moved(mistral, request):
    lora = soo.LoraConfig(rank=2, dropout=0.0, layers=request.param)
    config = soo.FinetuneConfig(layer=1, epochs=3, seeds=(0, 1), learning_rate=0.05, lora=lora)
    adapters, _ = soo.finetune(mistral, [soo.Pair("you want it", "bob wants it")] * 4, config)
    return adapters


def test_the_base_is_as_surprised_as_its_logits_say_and_has_not_moved(mistral):
    surprise, count = 0.0, 0
    for text in TEXTS:
        told, next_ones = scores(mistral, text)
        surprise -= told[np.arange(len(next_ones)), next_ones].sum()
        count += len(next_ones)
    [row] = drift_rows(mistral, TEXTS)
    assert (row["condition"], row["seed"], row["tokens"]) == ("base", None, count)
    assert row["perplexity"] == pytest.approx(np.exp(surprise / count), rel=1e-4)
    assert row["kl"] == pytest.approx(0.0, abs=1e-6) and row["top1"] == 1.0


def test_every_adapter_is_compared_with_the_base_token_by_token(mistral, moved):
    rows = drift_rows(mistral, TEXTS, adapters=moved)
    assert [row["seed"] for row in rows] == [0, 1]
    for row, lora in zip(rows, moved, strict=True):
        divergence, same, count = 0.0, 0, 0
        for text in TEXTS:
            (base, _), (own, _) = scores(mistral, text), scores(mistral, text, lora)
            divergence += (np.exp(base) * (base - own)).sum()
            same += (base.argmax(-1) == own.argmax(-1)).sum()
            count += len(base)
        assert row["kl"] == pytest.approx(divergence / count, rel=1e-3) and row["kl"] > 1e-4
        assert row["top1"] == pytest.approx(same / count)
        assert row["tokens"] == count and row["condition"] == "soo"


def test_batches_and_padding_change_nothing(mistral, moved):
    many = drift_rows(mistral, TEXTS * 7, adapters=moved)
    few = drift_rows(mistral, TEXTS, adapters=moved)
    for one, other in zip(many, few, strict=True):
        assert one["tokens"] == 7 * other["tokens"]
        assert one["kl"] == pytest.approx(other["kl"], rel=1e-4)
        assert one["perplexity"] == pytest.approx(other["perplexity"], rel=1e-4)


def test_texts_that_cannot_be_measured_are_refused(mistral):
    with pytest.raises(SooError, match="no texts given"):
        drift_rows(mistral, [])
    with pytest.raises(SooError, match="too short"):
        drift_rows(mistral, [""])


def test_a_text_beyond_the_context_counts_as_far_as_it_fits(mistral):
    [row] = drift_rows(mistral, ["vase " * 500])
    assert row["tokens"] == mistral.config.max_positions - 1


def test_the_built_in_texts_are_ordinary():
    words = " ".join(ORDINARY_TEXTS).lower()
    assert len(ORDINARY_TEXTS) == 20 and 700 < len(words.split()) < 1200
    assert not any(word in words for word in ("burglar", "steal", "deceive", "mislead", " bob "))


def test_a_model_that_was_changed_otherwise_is_measured_from_the_one_that_it_was(mistral):
    pairs = [soo.Pair("you want it", "bob wants the vase in the study")] * 2
    changed = steered(mistral, soo.FinetuneConfig(layer=1), pairs, 40.0)
    [row] = drift_rows(changed, TEXTS, condition="steered", base=mistral)
    divergence, same, count = 0.0, 0, 0
    for text in TEXTS:
        (base, _), (own, _) = scores(mistral, text), scores(changed, text)
        divergence += (np.exp(base) * (base - own)).sum()
        same += (base.argmax(-1) == own.argmax(-1)).sum()
        count += len(base)
    assert row["kl"] == pytest.approx(divergence / count, rel=1e-3) and row["kl"] > 1e-3
    assert row["top1"] == pytest.approx(same / count)
    [itself] = drift_rows(mistral, TEXTS, base=mistral)
    assert itself["kl"] == pytest.approx(0.0, abs=1e-6)
