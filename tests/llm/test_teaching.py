"""Teaching by example: the loss is the answers' cross-entropy, and a stopped run goes on to the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soo_jax.adapters import LoraConfig
from soo_jax.errors import SooError
from soo_jax.llm.teaching import TeachConfig, answer_loss, encode_examples, teach

EXAMPLES = [("bob wants the vase . where ?", "kitchen"), ("you want the coin . where ?", "study attic")] * 4
CONFIG = TeachConfig(
    lora=LoraConfig(rank=4, alpha=8.0, targets=("q", "v", "o")), steps=20, batch_size=4, learning_rate=2e-2
)


def test_the_loss_is_the_cross_entropy_of_the_answers_and_their_end_alone(mistral):
    data = encode_examples(mistral, EXAMPLES[:2])
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
    assert np.asarray(data.answered.sum(1)).tolist() == [2, 3]


def test_what_is_taught_is_learned_and_a_stopped_teaching_goes_on_to_the_same_bits(mistral, tmp_path):
    lora, losses = teach(mistral, EXAMPLES, CONFIG)
    assert losses[-1] < 0.5 * losses[0]

    class Kill(Exception):
        pass

    def die(done, total, metrics):
        if done == 15:
            raise Kill

    with pytest.raises(Kill):
        teach(mistral, EXAMPLES, CONFIG, checkpoints=tmp_path, progress=die)
    seen = []
    again, after = teach(
        mistral, EXAMPLES, CONFIG, checkpoints=tmp_path, resume=True, progress=lambda done, *_: seen.append(done)
    )
    assert seen == [15, 20] and np.array_equal(losses, after)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(lora), jax.tree.leaves(again), strict=True))
    with pytest.raises(SooError, match=r"made with other settings \(examples\)"):
        teach(mistral, EXAMPLES[:4], CONFIG, checkpoints=tmp_path, resume=True)


def test_nothing_to_teach_and_impossible_settings_are_one_line(mistral):
    with pytest.raises(SooError, match="no examples given"):
        teach(mistral, [], CONFIG)
    with pytest.raises(SooError, match="does not fit the model's context of 128"):
        encode_examples(mistral, [("bob " * 200, "kitchen")])
    with pytest.raises(SooError, match="learning_rate must be positive"):
        TeachConfig(learning_rate=0.0)
