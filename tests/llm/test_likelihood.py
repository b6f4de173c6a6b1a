"""Likelihood of continuations: what one would read off the logits by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.llm.likelihood import likelihoods
from soo_jax.models.probes import logits

PAIRS = [([1, 4, 9], [10, 11]), ([1], [5, 6, 7, 8, 9]), ([1, 5, 7, 8, 20, 21, 22, 23, 24, 25], [3])]


def by_hand(lm, context, end, adapter=None):
    tokens = jnp.asarray([[*context, *end]])
    out = lm.forward(lm.params, tokens, jnp.ones(tokens.shape, bool), (logits(),), adapters=adapter)[logits()][0]
    scores = np.asarray(jax.nn.log_softmax(out))[len(context) - 1 : -1]
    return scores[np.arange(len(end)), end].sum(), bool((scores.argmax(-1) == end).all())


@pytest.fixture(scope="module")
def adapter(mistral):
    lora = soo.init_lora(mistral.config, soo.LoraConfig(rank=2, dropout=0.0), jax.random.key(1))
    draw = lambda name, b: 0.3 * jax.random.normal(jax.random.key(len(name)), b.shape, jnp.float32)
    return lora.replace(b={name: draw(name, b) for name, b in lora.b.items()})


def test_continuations_of_any_length_are_as_likely_as_their_logits_say(mistral, adapter):
    for lora in (None, adapter):
        found = likelihoods(mistral, PAIRS, lora, batch_size=2)
        for one, (context, end) in zip(found, PAIRS, strict=True):
            logp, greedy = by_hand(mistral, context, end, lora)
            assert one.logp == pytest.approx(logp, abs=1e-4) and one.greedy == greedy
    assert abs(by_hand(mistral, *PAIRS[0], adapter)[0] - by_hand(mistral, *PAIRS[0])[0]) > 0.1


def test_the_first_choice_is_called_greedy(mistral):
    context = [1, 4, 9]
    tokens = jnp.asarray([context])
    out = mistral.forward(mistral.params, tokens, jnp.ones(tokens.shape, bool), (logits(),))[logits()]
    best, worst = int(out[0, -1].argmax()), int(out[0, -1].argmin())
    assert [one.greedy for one in likelihoods(mistral, [(context, [best]), (context, [worst])])] == [True, False]


def test_what_does_not_fit_the_context_is_cut_off_in_front(mistral):
    most = mistral.config.max_positions
    long = [1, *([4, 9, 10] * most)][: most + 40]
    [cut], [short] = (likelihoods(mistral, [(row, [5, 6])]) for row in (long, long[-(most - 1) :]))
    assert cut == short
