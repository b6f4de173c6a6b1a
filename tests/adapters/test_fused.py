"""Phi-3 stores several projections in one matrix: adapters and weights go to transformers and PEFT and come back."""

import numpy as np
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from test_lora import our_logits, perturbed, torch_logits
from transformers import AutoModelForCausalLM, Phi3Config

from soo_jax.adapters import LoraConfig, load_peft, merge, save_peft
from soo_jax.errors import SooError
from soo_jax.models.architectures import read_config
from soo_jax.models.loading import load_params, save_weights
from tests.models.test_parity import random_torch_model

CONFIG = Phi3Config(
    vocab_size=53,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phi3")
    random_torch_model(CONFIG).save_pretrained(folder)
    config = read_config(folder)
    return folder, config, load_params(folder, config)


def theirs(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "kind",
    [
        LoraConfig(rank=4, alpha=8.0),
        LoraConfig(rank=2, alpha=8.0, targets=("k", "o", "up", "down"), layers=(0, 2)),
        LoraConfig(rank=2, alpha=8.0, targets=("q", "k", "v", "gate", "up"), rslora=True),
        LoraConfig(rank=2, alpha=8.0, targets=("o",)),
    ],
    ids=["queries and values", "parts of both, some layers", "all parts, rslora", "no part"],
)
def test_an_adapter_of_parts_is_one_of_the_whole_matrix_in_peft_and_here_again(base, kind, tmp_path):
    folder, config, params = base
    adapter = perturbed(config, kind)
    expected = our_logits(config, params, adapter)
    assert np.abs(expected - our_logits(config, params)).max() > 0.05
    save_peft(tmp_path, adapter, str(folder), model=config)
    np.testing.assert_allclose(torch_logits(PeftModel.from_pretrained(theirs(folder), tmp_path)), expected, atol=1e-4)
    again = load_peft(tmp_path, config).lora
    np.testing.assert_allclose(our_logits(config, params, again), expected, atol=1e-4)
    np.testing.assert_allclose(our_logits(config, merge(params, again)), expected, atol=2e-4)


def test_an_adapter_that_peft_made_of_the_whole_matrix_gives_the_same_logits_here(base, tmp_path):
    folder, config, params = base
    torch.manual_seed(1)
    how = PeftConfig(
        r=4, lora_alpha=8, target_modules=["qkv_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(theirs(folder), how)
    model.save_pretrained(tmp_path)
    adapter = load_peft(tmp_path, config).lora
    assert set(adapter.config.targets) == {"q_proj", "k_proj", "v_proj", "down_proj"} and adapter.config.rank == 4
    np.testing.assert_allclose(our_logits(config, params, adapter), torch_logits(model), atol=1e-4)


def test_weights_are_written_as_transformers_reads_them(base, tmp_path):
    folder, config, params = base
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_weights(tmp_path, config, params)
    np.testing.assert_array_equal(torch_logits(theirs(tmp_path)), torch_logits(theirs(folder)))


def test_a_quantised_copy_holds_the_parts_alone_and_is_read_again(tmp_path):
    from conftest import write_model

    import soo_jax as soo

    folder = write_model(tmp_path / "model", "phi3", hidden_size=64, intermediate_size=128, num_key_value_heads=4)
    soo.convert(folder, tmp_path / "small", "int8:float32")
    wide, here, again = soo.load(folder), soo.load(folder, "int8:float32"), soo.load(tmp_path / "small")
    tokens = np.arange(4, 16)[None]
    read = lambda lm: np.asarray(lm.forward(lm.params, tokens, np.ones_like(tokens, bool))[soo.logits()])
    np.testing.assert_array_equal(read(again), read(here))
    assert 0 < np.abs(read(here) - read(wide)).max() < 0.1 * np.abs(read(wide)).max()
    assert again.fingerprint == wide.fingerprint


def test_positions_that_are_scaled_as_phi3_does_for_long_texts_are_refused_by_name(base):
    from soo_jax.models.architectures import config_from_hf

    long = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    with pytest.raises(SooError, match="rope type 'longrope' is not supported"):
        config_from_hf({**CONFIG.to_dict(), "architectures": ["Phi3ForCausalLM"], "rope_parameters": long})
    with pytest.raises(SooError, match="partial_rotary_factor is not supported"):
        hub = {name: value for name, value in CONFIG.to_dict().items() if name != "rope_parameters"}
        config_from_hf({**hub, "architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.5})
