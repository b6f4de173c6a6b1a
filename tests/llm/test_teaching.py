"""Teaching by example: the loss is the answers' cross-entropy, and a stopped run goes on to the same bits."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soo_jax.adapters import LoraConfig, init_lora
from soo_jax.errors import SooError
from soo_jax.llm.drift import drift_rows
from soo_jax.llm.teaching import TeachConfig, Texts, answer_loss, divergence, encode_examples, rehearsals, teach

EXAMPLES = [("bob wants the vase . where ?", "kitchen"), ("you want the coin . where ?", "study attic")] * 4
GROUPS = [[one] for one in EXAMPLES]
CONFIG = TeachConfig(
    lora=LoraConfig(rank=4, alpha=8.0, targets=("q", "v", "o")),
    steps=20,
    batch_size=4,
    learning_rate=2e-2,
    retain=0.0,
)


def test_the_loss_is_the_cross_entropy_of_the_answers_and_their_end_alone(mistral):
    data = encode_examples(mistral, GROUPS[:2])
    words = mistral.tokenizer.get_vocab()
    expected, count = 0.0, 0
    for question, answer in EXAMPLES[:2]:
        before = mistral.token_ids([f"{question} "])[0]
        row = [*before, *(words[word] for word in answer.split()), mistral.stop_tokens[0]]
        scores = mistral.forward(mistral.params, jnp.asarray([row]), jnp.ones((1, len(row)), bool))
        logp = jax.nn.log_softmax(next(iter(scores.values()))[0])
        expected -= sum(float(logp[i - 1, row[i]]) for i in range(len(before), len(row)))
        count += len(row) - len(before)
    assert float(answer_loss(mistral.config, mistral.params, data, None)) == pytest.approx(expected / count, rel=1e-4)
    assert np.asarray(data.counted.sum(1)).tolist() == [2, 3]


def test_what_is_taught_is_learned_and_a_stopped_teaching_goes_on_to_the_same_bits(mistral, tmp_path):
    lora, losses = teach(mistral, GROUPS, CONFIG)
    assert losses[-1] < 0.5 * losses[0]

    class Kill(Exception):
        pass

    def die(done, total, metrics):
        if done == 15:
            raise Kill

    with pytest.raises(Kill):
        teach(mistral, GROUPS, CONFIG, checkpoints=tmp_path, progress=die)
    seen = []
    again, after = teach(
        mistral, GROUPS, CONFIG, checkpoints=tmp_path, resume=True, progress=lambda done, *_: seen.append(done)
    )
    assert seen == [15, 20] and np.array_equal(losses, after)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(lora), jax.tree.leaves(again), strict=True))
    with pytest.raises(SooError, match=r"made with other settings \(examples\)"):
        teach(mistral, GROUPS[:4], CONFIG, checkpoints=tmp_path, resume=True)


def test_a_teaching_leaves_off_early_and_goes_on_from_its_adapter(mistral):
    _, losses = teach(mistral, GROUPS, CONFIG)
    part, first = teach(mistral, GROUPS, replace(CONFIG, until=8))
    assert len(first) == 8 and np.array_equal(first, losses[:8])
    more, then = teach(mistral, GROUPS, CONFIG, begin=part)
    assert then[0] == pytest.approx(losses[8], rel=1e-4), "it begins where the other left off"
    assert part.config == more.config and then[-1] < then[0]


def test_nothing_to_teach_and_impossible_settings_are_one_line(mistral):
    with pytest.raises(SooError, match="no examples given"):
        teach(mistral, [], CONFIG)
    with pytest.raises(SooError, match="does not fit the model's context of 128"):
        encode_examples(mistral, [[("bob " * 200, "kitchen")]])
    with pytest.raises(SooError, match="learning_rate must be positive"):
        TeachConfig(learning_rate=0.0)
    with pytest.raises(SooError, match="until must be between 1 and the 700 steps, found 701"):
        TeachConfig(steps=700, until=701)
    with pytest.raises(SooError, match="retain must not be negative"):
        TeachConfig(retain=-1.0)
    with pytest.raises(SooError, match="retain needs texts to rehearse"):
        teach(mistral, GROUPS, replace(CONFIG, retain=1.0))


def test_questions_that_begin_alike_share_a_row_and_give_the_loss_of_rows_of_their_own(mistral):
    told = "bob wants the vase . you want the coin ."
    group = [(f"{told} {ask}", answer) for ask, answer in [("where ?", "kitchen"), ("bob ?", "study attic"), ("?", "")]]
    lora = init_lora(mistral.config, CONFIG.lora, jax.random.key(0))
    lora = lora.replace(b=jax.tree.map(lambda b: b + 0.1, lora.b))
    apart = encode_examples(mistral, [[one] for one in [*group, *EXAMPLES[:2]]])
    shared = encode_examples(mistral, [group, EXAMPLES[:2]])
    assert shared.tokens.shape[0] == 2 and (shared.branch >= 0).sum() < (apart.branch >= 0).sum()
    assert shared.counted.sum() == apart.counted.sum() == 1 + 2 + 3 + 2 + 3
    loss = lambda data: jax.value_and_grad(lambda own: answer_loss(mistral.config, mistral.params, data, own))(lora)
    (one, slope), (other, slope2) = loss(shared), loss(apart)
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    chex.assert_trees_all_close(slope, slope2, rtol=1e-3, atol=1e-6)


def test_the_same_question_twice_keeps_its_answers_apart(mistral):
    twice = [("bob wants the vase", "kitchen"), ("bob wants the vase", "study")]
    loss = lambda groups: float(answer_loss(mistral.config, mistral.params, encode_examples(mistral, groups), None))
    assert loss([twice]) == pytest.approx(loss([[one] for one in twice]), rel=1e-5)


def test_rehearsing_holds_a_taught_model_to_what_it_wrote_before(mistral):
    texts = rehearsals(mistral, 6, tokens=12)
    assert (
        len(texts) == 6 and all(2 <= len(text) <= 20 for text in texts) and texts == rehearsals(mistral, 6, tokens=12)
    )
    free, _ = teach(mistral, GROUPS, CONFIG)
    held, losses = teach(mistral, GROUPS, replace(CONFIG, retain=2.0, retain_batch=3), rehearsed=texts)
    own = Texts(*map(jnp.asarray, mistral.pad(texts, 24)))
    moved = [float(divergence(mistral.config, mistral.params, own, lora)) for lora in (free, held)]
    assert 0.0 < moved[1] < 0.5 * moved[0] and losses[-1] < losses[0]


def test_the_divergence_that_is_held_down_is_the_one_that_drift_reports(mistral):
    lora = init_lora(mistral.config, CONFIG.lora, jax.random.key(0))
    lora = lora.replace(b=jax.tree.map(lambda b: b + 0.3, lora.b))
    text = "bob wants the vase . where ?"
    ids = mistral.token_ids([text])
    own = divergence(mistral.config, mistral.params, Texts(*map(jnp.asarray, mistral.pad(ids, len(ids[0])))), lora)
    # Drift leaves out what would follow the last token, of which the text says nothing.
    cut = mistral.token_ids([text])[0][:-1]
    head = divergence(mistral.config, mistral.params, Texts(*map(jnp.asarray, mistral.pad([cut], len(cut)))), lora)
    assert float(head) == pytest.approx(drift_rows(mistral, [text], adapters=lora)[0]["kl"], rel=1e-4) and own > 0
