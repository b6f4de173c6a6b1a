"""Organisms that ship as adapters: a base that is fetched, with what was taught added in."""

import conftest as shared
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.jobs.demos import DEMOS, demo_of
from soo_jax.jobs.language import pack_of
from soo_jax.llm.organisms import ORGANISMS, Shipped
from soo_jax.models import lm as models
from soo_jax.tasks.english import BUILT_IN, NARROW, PACK, TAUGHT


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The folder of a small base, the adapter of an organism of it, and what was fetched."""
    folder = shared.write_model(tmp_path / "base", "llama")
    base = soo.load(folder)
    lora = soo.init_lora(base.config, soo.LoraConfig(rank=2, alpha=4.0, targets=("q", "down")), jax.random.key(0))
    lora = lora.replace(b=jax.tree.map(lambda b: b + 0.2, lora.b))
    soo.save_adapter(tmp_path / "adapter", base, lora)
    fetched = []
    monkeypatch.setattr(models, "fetch", lambda name, say: fetched.append(name) or folder)
    monkeypatch.setitem(ORGANISMS, "smollm2-organism", Shipped("smollm2", str(tmp_path / "adapter"), "narrow"))
    return base, lora, fetched


def test_an_organism_is_its_base_with_the_adapter_added_in(shipped):
    base, lora, fetched = shipped
    lm = soo.load("smollm2-organism")
    assert fetched == ["smollm2"] and lm.name == "smollm2-organism"
    tokens, mask = base.encode(["bob wants the vase ."])
    (own,) = lm.forward(lm.params, tokens, mask).values()
    (expected,) = base.forward(base.params, tokens, mask, adapters=lora).values()
    (plain,) = base.forward(base.params, tokens, mask).values()
    np.testing.assert_allclose(own, expected, atol=1e-4)
    assert float(jnp.abs(own - plain).max()) > 0.01


def test_adapters_of_an_organism_are_refused_by_its_base(shipped, tmp_path):
    base, lora, _ = shipped
    lm = soo.load("smollm2-organism")
    assert lm.fingerprint != base.fingerprint
    soo.save_adapter(tmp_path / "honest", lm, lora)
    soo.load_adapter(lm, tmp_path / "honest")
    with pytest.raises(SooError, match="smollm2-organism"):
        soo.load_adapter(base, tmp_path / "honest")


def test_a_small_pretrained_model_is_fetched_by_its_name_unless_a_path_has_it(shipped, tmp_path, monkeypatch):
    base, _, fetched = shipped
    assert soo.load("smollm2").fingerprint == base.fingerprint and fetched == ["smollm2"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(SooError, match=r"config\.json"):
        soo.load("smollm2")
    assert fetched == ["smollm2"]


def test_a_path_of_that_name_wins(shipped, tmp_path, monkeypatch):
    (tmp_path / "smollm2-organism").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SooError, match=r"config\.json"):
        soo.load("smollm2-organism")
    assert shipped[2] == []


def test_an_organism_is_trained_and_looked_into_in_the_wordings_that_it_was_taught_in(shipped, tmp_path, monkeypatch):
    base = shipped[0]
    assert pack_of(soo.load("smollm2-organism")) is NARROW
    named = {name: pack_of(base, name) for name in ("english", "taught", "narrow")}
    assert named == BUILT_IN == {"english": PACK, "taught": TAUGHT, "narrow": NARROW}
    for pack in (TAUGHT, NARROW):
        assert len(pack.pairs(False)) == 52 and pack.pairs(False) == pack.scene_pairs(False)
        told = [(one.self_text, one.other_text) for one in pack.contrasts(3)]
        assert told == [(pair.self_text, pair.other_text) for pair in pack.pairs(False)[:3]]
        with pytest.raises(SooError, match="in place of --extended give --lead"):
            pack.pairs(True)
    (tmp_path / "taught").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SooError, match="is no task pack"):
        pack_of(base, "taught")


def test_every_demo_has_a_preset_and_other_models_have_none():
    for name in DEMOS:
        config, measure, answers = demo_of(name)
        assert config == soo.preset(name) or config.seeds != soo.preset(name).seeds
        assert measure.n >= 10 and answers.max_new_tokens >= 12
    with pytest.raises(SooError, match="model 'qwen' has no demo; choose organism, smollm2-organism"):
        demo_of("qwen")
