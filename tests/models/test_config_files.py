"""config.json as people have it: absent, null, in the old dialect, in the new one, in both. Either the logits are those
of transformers, or the file is refused in one line; never a third thing."""

import json
import warnings

import jax
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from soo_jax.errors import SooError, SooWarning
from soo_jax.models.architectures import read_config
from soo_jax.models.decoder import forward
from soo_jax.models.loading import load_params
from soo_jax.models.probes import logits

CLASSES = {
    "mistral": "MistralForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
}
SELDOM = (
    "mistral",
    "qwen2",
    "gemma3_text",
    "qwen3",
    "olmo2",
    "smollm3",
    "phi3",
)  # read as others are; each takes half a minute
SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
OWN = {
    "mistral": {"sliding_window": None},
    "llama": {},
    "qwen2": {},
    "gemma2": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "qwen3": {"head_dim": 8},
    "olmo2": {},
    "smollm3": {"pad_token_id": 0},
    "phi3": {"pad_token_id": 0},
}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}
LINEAR, OLD_LINEAR = {"rope_type": "linear", "factor": 2.0}, {"type": "linear", "factor": 2.0}
ABSENT = object()

# Every field that changes the computation, with the values that files are found with.
FOR_ALL = {
    "num_key_value_heads": [ABSENT, None, 4],
    "head_dim": [ABSENT, None, 16],
    "rms_norm_eps": [ABSENT, None, 1e-3],
    "hidden_act": [ABSENT, None, "gelu", "gelu_pytorch_tanh", "relu"],
    "hidden_activation": [ABSENT, None, "gelu", "silu"],
    "rope_theta": [ABSENT, None, 500.0, 100],
    "rope_scaling": [
        ABSENT,
        None,
        LINEAR,
        OLD_LINEAR,
        {**LLAMA3, "original_max_position_embeddings": 32},
        LLAMA3,
        YARN,
        {},
    ],
    "rope_parameters": [None, {"rope_type": "default", "rope_theta": 50.0}, {**LINEAR, "rope_theta": 50.0}, LINEAR, {}],
    "tie_word_embeddings": [ABSENT, None, True, False],
    "sliding_window": [ABSENT, None, 4, 64, 0],
    "layer_types": [None, ["full_attention"] * 3, ["sliding_attention", "full_attention", "full_attention"]],
    "attention_bias": [None, True, False],
    "mlp_bias": [None, True],
    "use_sliding_window": [None, True, False],
    "max_window_layers": [ABSENT, None, 1],
    "attn_logit_softcapping": [ABSENT, None, 1.5],
    "final_logit_softcapping": [ABSENT, None, 1.5],
    "query_pre_attn_scalar": [ABSENT, None, 3, 64],
    "max_position_embeddings": [ABSENT, None, 24],
    "original_max_position_embeddings": [16],
    "partial_rotary_factor": [None, 1.0, 0.5],
    "use_bidirectional_attention": [None, False, True],
    "pretraining_tp": [2],
    "attention_dropout": [0.3],
    "use_cache": [False],
}
TOGETHER = [
    {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    {"rope_scaling": YARN, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    {"rope_scaling": LINEAR, "rope_theta": 70.0, "rope_parameters": {**LINEAR, "factor": 8.0, "rope_theta": 50.0}},
    {"rope_scaling": {**LLAMA3, "rope_theta": 90.0}, "rope_theta": 70.0},
    {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}, "rope_theta": 9.0},
    {"rope_scaling": LLAMA3, "original_max_position_embeddings": 16},
    {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    {"use_sliding_window": True, "sliding_window": None},
    {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["sliding_attention"] * 3},
    {"use_sliding_window": False, "sliding_window": 4, "layer_types": ["sliding_attention"] * 3},
    {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    {"sliding_window": None, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    {"torch_dtype": "float32", "dtype": "float32"},
]
VARIANTS = [{name: value} for name, values in FOR_ALL.items() for value in values] + TOGETHER
SCALED_GEMMA3 = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
TOKENS = np.random.default_rng(0).integers(0, 61, (2, 14))


def said(changes):
    return ", ".join(f"{name}={'absent' if value is ABSENT else json.dumps(value)}" for name, value in changes.items())


def raw_config(family, changes):
    raw = {"architectures": [CLASSES[family]], "model_type": family, **SIZES, **OWN[family], **changes}
    return {name: value for name, value in raw.items() if value is not ABSENT}


def theirs(folder, raw):
    """The logits of transformers for a random model of this config, saved there; None where transformers refuses."""
    (folder / "config.json").write_text(json.dumps(raw))
    try:
        config = AutoConfig.from_pretrained(folder)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            out = model(torch.tensor(TOKENS)).logits.numpy()
    except Exception:  # it refuses with whatever comes to hand; that enough is read is asserted below
        return None
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(raw))  # save_pretrained has written the new dialect
    return out


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if name in SELDOM else name for name in CLASSES]
)
def test_every_field_is_read_as_transformers_reads_it_or_refused(family, tmp_path):
    wrong, loaded, refused = [], 0, []
    for i, changes in enumerate(VARIANTS):
        folder = tmp_path / str(i)
        folder.mkdir()
        expected = theirs(folder, raw_config(family, changes))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SooWarning)
                config = read_config(folder)
                if expected is None:
                    wrong.append(f"{said(changes)}: transformers refuses it, we read it")
                    continue
                params = load_params(folder, config)
        except SooError as error:
            assert "\n" not in str(error)
            refused.append(said(changes))
            continue
        with jax.disable_jit():  # operation by operation: most are the same in all variants, and compiled once
            got = np.asarray(forward(config, params, TOKENS, np.ones_like(TOKENS, bool))[logits()])
        loaded += 1
        gap = np.abs(got - expected).max()
        if gap > 2e-4:
            wrong.append(f"{said(changes)}: logits differ by {gap:.3g}")
    assert not wrong, "\n".join(wrong)
    assert loaded > 40, f"too much is refused: {refused}"


def test_the_scaling_of_a_large_gemma3_touches_the_layers_that_see_all_and_warns_of_nothing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(raw_config("gemma3_text", SCALED_GEMMA3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = read_config(tmp_path)
    assert [rope.kind for rope in config.layer_ropes] == ["default", "linear", "default"]
    assert {rope.theta for rope in config.layer_ropes} == {1e4, 1e6}
