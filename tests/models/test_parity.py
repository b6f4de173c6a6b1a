"""The decoder against transformers (torch, eager attention, float32) on small random models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from soo_jax.models.architectures import read_config
from soo_jax.models.config import GLOBAL
from soo_jax.models.decoder import forward
from soo_jax.models.generate import generate
from soo_jax.models.loading import load_params
from soo_jax.models.probes import attn_out, logits

SMALL = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, max_position_embeddings=128)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=5000.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
MODELS = {
    "mistral": MistralConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, sliding_window=None),
    "mistral_window_shorter_than_prompt": MistralConfig(
        **SMALL, num_attention_heads=4, num_key_value_heads=2, sliding_window=5
    ),
    "mistral_odd_head_dim_tied": MistralConfig(
        **SMALL, num_attention_heads=4, num_key_value_heads=1, head_dim=12, tie_word_embeddings=True
    ),
    "llama2_kv_heads_equal_heads": LlamaConfig(**SMALL, num_attention_heads=4, num_key_value_heads=4),
    "llama3_rope_and_biases": LlamaConfig(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters=LLAMA3,
        attention_bias=True,
        mlp_bias=True,
    ),
    "llama_linear_rope": LlamaConfig(
        **SMALL,
        num_attention_heads=2,
        num_key_value_heads=2,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0),
    ),
    "qwen2": Qwen2Config(**SMALL, num_attention_heads=4, num_key_value_heads=2),
    "qwen2_mixed_windows_tied": Qwen2Config(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        tie_word_embeddings=True,
    ),
    "gemma2": Gemma2Config(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=6),
    "gemma2_query_scale_strong_caps": Gemma2Config(
        **SMALL,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=24,
        query_pre_attn_scalar=100,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=1.5,
        sliding_window=64,
    ),
    "gemma3": Gemma3TextConfig(
        **SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=6, sliding_window_pattern=2
    ),
    "gemma3_scaled_far_rope_and_cap": Gemma3TextConfig(
        **SMALL,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=24,
        query_pre_attn_scalar=100,
        final_logit_softcapping=1.5,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    ),
    "qwen3": Qwen3Config(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=12),
    "qwen3_windows_biases_tied": Qwen3Config(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        attention_bias=True,
        tie_word_embeddings=True,
    ),
    "olmo2": Olmo2Config(**SMALL, num_attention_heads=4, num_key_value_heads=2),
    "olmo2_biases_kv_heads_equal_heads": Olmo2Config(**SMALL, num_attention_heads=4, attention_bias=True),
    "phi3": Phi3Config(**SMALL, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0),
    "phi3_window_kv_heads_equal_heads_tied": Phi3Config(
        **SMALL,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=5,
        tie_word_embeddings=True,
        pad_token_id=0,
    ),
    "smollm3": SmolLM3Config(
        **SMALL, num_attention_heads=4, num_key_value_heads=2, no_rope_layers=[1, 0, 1], pad_token_id=0
    ),
    "smollm3_biases_untied": SmolLM3Config(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=2,
        no_rope_layer_interval=2,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=False,
        pad_token_id=0,
    ),
}


def random_torch_model(config, seed=0):
    """A model whose every weight, biases and norms too, is random: nothing can hide behind a zero or a one."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.25 if parameter.ndim > 1 else 0.3
            parameter.add_(torch.randn_like(parameter) * spread)
    return model


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    """The torch model, and the same weights loaded through the folder that transformers wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    model = random_torch_model(MODELS[request.param])
    model.save_pretrained(folder)
    config = read_config(folder)
    return model, config, load_params(folder, config)


def left_padded(rng, lengths, vocab=97):
    width = max(lengths)
    tokens = np.zeros((len(lengths), width), np.int32)
    mask = np.zeros((len(lengths), width), bool)
    for row, n in enumerate(lengths):
        tokens[row, width - n :] = rng.integers(1, vocab, n)
        mask[row, width - n :] = True
    return tokens, mask


def torch_forward(model, tokens, mask):
    outputs = []
    hooks = [
        layer.self_attn.o_proj.register_forward_hook(lambda _, __, out: outputs.append(out.detach().numpy()))
        for layer in model.model.layers
    ]
    positions = np.maximum(np.cumsum(mask, 1) - 1, 0)
    with torch.no_grad():
        result = model(
            torch.tensor(tokens).long(), attention_mask=torch.tensor(mask).long(), position_ids=torch.tensor(positions)
        )
    for hook in hooks:
        hook.remove()
    return result.logits.numpy(), np.stack(outputs)


def test_logits_and_every_attention_output_equal_those_of_transformers(both):
    model, config, params = both
    tokens, mask = left_padded(np.random.default_rng(0), [13, 9, 3])
    expected, expected_attention = torch_forward(model, tokens, mask)
    got = forward(config, params, jnp.asarray(tokens), jnp.asarray(mask), (attn_out("all"), logits()))
    assert np.abs(expected[mask]).max() > 0.5
    np.testing.assert_allclose(np.asarray(got[logits()])[mask], expected[mask], atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        np.asarray(got[attn_out("all")])[:, mask], expected_attention[:, mask], atol=1e-4, rtol=0
    )


def test_a_padded_batch_equals_its_rows_one_by_one(both):
    _, config, params = both
    tokens, mask = left_padded(np.random.default_rng(1), [11, 6, 2])
    together = forward(config, params, jnp.asarray(tokens), jnp.asarray(mask))[logits()]
    for row in range(3):
        alone = tokens[row][mask[row]][None]
        single = forward(config, params, jnp.asarray(alone), jnp.ones(alone.shape, bool))[logits()]
        np.testing.assert_allclose(together[row][mask[row]], single[0], atol=1e-4, rtol=0)
        right = np.roll(tokens[row], mask[row].sum())[None], np.roll(mask[row], mask[row].sum())[None]
        padded_right = forward(config, params, jnp.asarray(right[0]), jnp.asarray(right[1]))[logits()]
        np.testing.assert_allclose(padded_right[0][right[1][0]], single[0], atol=1e-4, rtol=0)


def test_windows_are_as_the_config_says():
    def windows(name, tmp):
        MODELS[name].save_pretrained(tmp)
        return read_config(tmp).windows

    import tempfile

    with tempfile.TemporaryDirectory() as tmp:
        assert windows("mistral_window_shorter_than_prompt", tmp) == (5, 5, 5)
        assert windows("qwen2_mixed_windows_tied", tmp) == (GLOBAL, 4, 4)
        assert windows("gemma2", tmp) == (6, GLOBAL, 6)
        assert windows("qwen2", tmp) == (GLOBAL,) * 3


def test_greedy_generation_is_that_of_transformers_for_32_tokens(both):
    model, config, params = both
    tokens, mask = left_padded(np.random.default_rng(2), [10, 7, 1])
    with torch.no_grad():
        expected = model.generate(
            torch.tensor(tokens).long(),
            attention_mask=torch.tensor(mask).long(),
            max_new_tokens=32,
            min_new_tokens=32,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        ).numpy()[:, tokens.shape[1] :]
    got = generate(
        config,
        params,
        jnp.asarray(tokens),
        jnp.asarray(mask),
        jax.random.key(0),
        max_new_tokens=32,
        stop_tokens=(),
    ).tokens
    np.testing.assert_array_equal(np.asarray(got), expected)
