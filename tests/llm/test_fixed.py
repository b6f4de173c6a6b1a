"""What no update changes is computed once, and the training is the one that computes it anew each time."""

from dataclasses import replace

import conftest as shared
import jax
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.llm import fixed
from soo_jax.llm.config import build_objective
from soo_jax.llm.finetune import encode_inputs, make_static
from soo_jax.llm.fixed import make_data
from soo_jax.models.decoder import forward

PAIRS = [
    soo.Pair(f"you want the {item} . recommend a room to yourself", f"bob wants the {item} . which room to bob")
    for item in ("vase", "lamp", "coin", "house", "room")
]
TEXTS = ["bob wants the coin", "you want to steal the vase from the house ."]
UPPER = soo.LoraConfig(rank=2, dropout=0.1, layers=(2, 3))
PLAIN = soo.FinetuneConfig(layer=2, epochs=2, batch_size=2, learning_rate=1e-2, seeds=(0, 1), lora=UPPER)


@pytest.fixture(params=["mistral", pytest.param("gemma2", marks=pytest.mark.slow)], scope="module")
def model(request, tmp_path_factory):
    folder = shared.write_model(tmp_path_factory.mktemp(request.param), request.param, num_hidden_layers=4)
    return soo.load(folder)


def parts(lm, config):
    """The static and the data of a run."""
    objective = build_objective(config)
    static = make_static(lm.config, len(PAIRS), config, objective)
    return make_data(lm, static, encode_inputs(lm, PAIRS, config, TEXTS if config.retain else (), objective))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"direction": "anchored"}, marks=pytest.mark.slow),
        pytest.param({"direction": "other_to_self", "tokens": "mean"}, marks=pytest.mark.slow),
        {"retain": 0.5, "direction": "anchored"},
        {"site": "residual", "layer": 3, "remat": True},
    ],
    ids=str,
)
def test_a_run_that_computes_the_fixed_part_once_equals_one_that_computes_it_every_time(model, changes, monkeypatch):
    config = replace(PLAIN, **changes)
    texts = TEXTS if config.retain else ()
    once, history = soo.finetune(model, PAIRS, config, texts=texts)
    monkeypatch.setattr(fixed, "SHARE", 0.0)
    always, expected = soo.finetune(model, PAIRS, config, texts=texts)
    for name, values in expected.values.items():
        np.testing.assert_allclose(history.values[name], values, rtol=2e-4, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), once.lora, always.lora)


def test_passes_begin_at_the_lowest_layer_that_is_adapted_or_read(model):
    static, data = parts(model, replace(PLAIN, direction="anchored"))
    assert static.first == 2 and set(data.fixed.streams) == {"self", "other"} and set(data.fixed.base) == {"base:self"}
    width = data.inputs["self"].tokens.shape[1]
    assert data.fixed.streams["self"].shape == (5, width, model.config.width)
    objective = soo.weighted(all=(1.0, soo.overlap(at=soo.attn_out((1, 3)))))
    static, _ = make_data(model, make_static(model.config, 5, PLAIN, objective), data.inputs)
    assert static.first == 1
    static, data = parts(model, replace(PLAIN, lora=soo.LoraConfig(rank=2)))
    assert static.first == 0 and not data.fixed.streams


def test_what_would_take_too_much_room_is_read_anew(model, monkeypatch):
    config = replace(PLAIN, direction="anchored", retain=0.5)
    whole = parts(model, config)[1].fixed
    assert set(whole.base) >= {"base:self"} and set(whole.streams) == {"self", "other", "text"}
    streams = sum(x.nbytes for x in whole.streams.values())
    weights = sum(x.nbytes for x in jax.tree.leaves(model.params))
    monkeypatch.setattr(fixed, "SHARE", 1.01 * streams / weights)
    static, data = parts(model, config)
    assert static.first == 2 and not data.fixed.base
    monkeypatch.setattr(fixed, "SHARE", 0.99 * streams / weights)
    assert parts(model, config)[0].first == 0


def test_a_pass_that_begins_at_a_layer_reads_what_a_whole_pass_reads_and_nothing_below(model):
    tokens, mask = model.encode(TEXTS)
    probes = (soo.residual((1, 2, 3)), soo.attn_out(2), soo.logits())
    whole = forward(model.config, model.params, tokens, mask, probes)
    begun = forward(model.config, model.params, tokens, mask, probes[1:], first=2, entering=whole[probes[0]][0])
    for probe in probes[1:]:
        np.testing.assert_allclose(begun[probe], whole[probe], atol=1e-5)
    with pytest.raises(SooError, match="begins at layer 2 cannot read layer 1"):
        forward(model.config, model.params, tokens, mask, probes[:1], first=2, entering=whole[probes[0]][0])
