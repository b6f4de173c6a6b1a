"""One objective, two kinds of agents: both trainers serve the same views to the same terms, and refuse the same."""

import jax
import jax.numpy as jnp
import pytest

import soo_jax as soo
from soo_jax.adapters import init_lora
from soo_jax.errors import SooError
from soo_jax.llm.finetune import prepare
from soo_jax.llm.training import Batch
from soo_jax.llm.training import read_views as read_model
from soo_jax.rl import PpoConfig, game, hidden, make_train
from soo_jax.rl.networks import init_policy
from soo_jax.rl.views import read_views as read_policy

PAIRS = [soo.Pair("you want the vase", "bob wants the vase"), soo.Pair("you want a lamp", "bob wants a lamp")]
TEXTS = ["the coin is in the study", "where is the lamp"]


class LanguageModel:
    at, tokens = soo.attn_out(1), "last"

    def __init__(self, lm):
        self.lm = lm

    def train(self, objective):
        config = soo.FinetuneConfig(layer=1, epochs=1, seeds=(0,))
        soo.finetune(self.lm, PAIRS, config, texts=TEXTS, objective=objective)

    def at_first(self, objective):
        """The terms before the first update."""
        made = prepare(self.lm, PAIRS, soo.FinetuneConfig(layer=1), texts=TEXTS, objective=objective)
        lora = init_lora(self.lm.config, made.static.lora, jax.random.key(0))
        return objective(read_model(made.static, self.lm.params, Batch(made.inputs), lora, None))[1]


class Agent:
    at, tokens = hidden(), None

    def train(self, objective):
        config = PpoConfig(iterations=1, environments=2, steps=5, hidden=(8,), minibatches=1, learns=("blue",))
        make_train(game("physical_deception"), config.replace(objective=objective))(jax.random.key(0))

    def at_first(self, objective):
        policy = init_policy(jax.random.key(1), 10, 2, (16, 16))
        here, there = jax.random.normal(jax.random.key(2), (2, 6, 10))
        mask = jnp.arange(6) < 4
        return objective(read_policy(policy, policy, here, there, mask, objective.reads))[1]


@pytest.fixture(params=["language model", "agent"])
def trainer(request):
    return Agent() if request.param == "agent" else LanguageModel(request.getfixturevalue("mistral"))


def test_before_the_first_update_nothing_has_drifted_and_anchors_lie_on_the_self_side(trainer):
    how = {"at": trainer.at, "tokens": trainer.tokens}
    terms = {
        "overlap": soo.overlap(soo.mse, **how),
        "anchored": soo.anchored(soo.mse, **how),
        "retain": soo.retain(soo.mse, **how),
    }
    found = trainer.at_first(soo.weighted(**{name: (1.0, term) for name, term in terms.items()}))
    assert float(found["overlap"]) > 0 and float(found["retain"]) == pytest.approx(0, abs=1e-9)
    assert float(found["anchored"]) == pytest.approx(float(found["overlap"]) / 2, rel=1e-5)


def test_a_view_that_a_trainer_does_not_serve_is_refused_by_its_name(trainer):
    class Strange:
        reads = (("dream", trainer.at),)

        def __call__(self, views):
            return 0.0

    with pytest.raises(SooError, match=r"view 'dream': .* does not serve it; it serves self, other, text, and each"):
        trainer.train(soo.weighted(strange=(1.0, Strange())))
