"""Margins read behind a prompt's own keys and values, against passes over the whole text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soo_jax.llm.margins import Margins
from soo_jax.models.config import GLOBAL, DecoderConfig
from soo_jax.models.decoder import forward, init_params
from soo_jax.models.generate import generate
from soo_jax.models.probes import logits
from soo_jax.tasks.records import Scenario

CONFIG = DecoderConfig("llama", 97, 16, 32, 3, 4, 2, 4, 128, windows=(GLOBAL, 6, GLOBAL))
PREFIX = "you are asked where a thing is: "
PROMPTS = {PREFIX + "a": "", PREFIX + "cup": "in the", PREFIX + "kettles of tin?": "it is", PREFIX + "bowl ": "?"}
WORDS = [("attic", "cellar"), ("attic", "attire"), ("study", "stable"), ("den", "a garden")]


class Threes:
    """Cuts texts into pieces of three letters, so that what follows a text changes its last token."""

    def token_ids(self, texts, chat):
        return [[1 + sum(map(ord, text[i : i + 3])) % 96 for i in range(0, len(text), 3)] for text in texts]


@pytest.mark.parametrize("chat", [False, True])
def test_margins_are_those_of_whole_texts_whatever_the_tokenizer_does_where_a_lead_begins(chat):
    params = init_params(CONFIG, jax.random.key(0))
    params["embedding"]["embedding"] = params["embedding"]["embedding"] * 50
    scenarios = [
        Scenario("burglar", "wrong_first", prompt, honest, deceptive, "Bob", lead)
        for (prompt, lead), (honest, deceptive) in zip(PROMPTS.items(), WORDS, strict=True)
    ]
    lm, prompts = Threes(), list(PROMPTS)
    rows = lm.token_ids(prompts, chat)
    margins = Margins.of(lm, scenarios, prompts, rows, chat)
    assert margins.shared == 8
    width = max(map(len, rows)) - margins.shared
    tokens, mask = np.zeros((5, width), np.int32), np.zeros((5, width), bool)  # a row fills the batch up
    for i, row in enumerate(rows):
        own = row[margins.shared :]
        tokens[i, width - len(own) :], mask[i, width - len(own) :] = own, True
    out = generate(
        CONFIG, params, tokens, mask, jax.random.key(0), max_new_tokens=2, stop_tokens=(),
        prefix=jnp.asarray(rows[0][: margins.shared]), branches=margins.branches(range(4), 5, 0),
    )  # fmt: skip

    def told(prompt, lead, word):
        """The log-probability of all tokens behind what both answers begin with."""
        gap = "" if chat or not lead else " "
        both = lm.token_ids([f"{prompt}{gap}{lead} {one}" for one in word], chat)
        fork = next(i for i, (a, b) in enumerate(zip(*both, strict=False)) if a != b)
        scores = []
        for row in both:
            read = forward(CONFIG, params, jnp.asarray([row]), jnp.ones((1, len(row)), bool), (logits(),))[logits()][0]
            logp = jax.nn.log_softmax(read, axis=-1)
            scores.append(sum(float(logp[i - 1, row[i]]) for i in range(fork, len(row))))
        return scores[1] - scores[0]

    expected = [told(prompt, lead, words) for (prompt, lead), words in zip(PROMPTS.items(), WORDS, strict=True)]
    (got,) = margins.read(range(4), np.asarray(out.branches)[None])
    np.testing.assert_allclose(got, expected, atol=1e-4)
