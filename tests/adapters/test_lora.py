"""LoRA against its definition and against the peft package."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from soo_jax.adapters import Lora, LoraConfig, init_lora, load_peft, merge, save_peft, stack, unstack
from soo_jax.errors import SooError
from soo_jax.models.architectures import read_config
from soo_jax.models.decoder import forward
from soo_jax.models.loading import load_params
from soo_jax.models.probes import logits

SMALL = dict(
    vocab_size=53,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KINDS = {
    "paper": LoraConfig(rank=4, alpha=16.0),
    "layer_subset": LoraConfig(rank=3, alpha=5.0, targets=("q", "o", "down"), layers=(1, 3)),
    "rslora_everywhere": LoraConfig(rank=4, alpha=8.0, targets=ALL, rslora=True),
}


@pytest.fixture(scope="module", params=[LlamaConfig, Qwen2Config], ids=["llama", "qwen2"])
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(request.param(**SMALL), attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    config = read_config(folder)
    return folder, config, load_params(folder, config)


def perturbed(config, lora, seed=0):
    fresh = init_lora(config, lora, jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), len(fresh.b)))
    return fresh.replace(b={name: 0.3 * jax.random.normal(next(keys), leaf.shape) for name, leaf in fresh.b.items()})


def our_logits(config, params, adapter=None):
    tokens = np.random.default_rng(0).integers(1, 53, (2, 7))
    return np.asarray(forward(config, params, tokens, jnp.ones((2, 7), bool), adapters=adapter)[logits()])


def torch_logits(model):
    tokens = np.random.default_rng(0).integers(1, 53, (2, 7))
    with torch.no_grad():
        return model.eval()(torch.tensor(tokens)).logits.numpy()


def test_a_fresh_adapter_changes_nothing(base):
    _, config, params = base
    fresh = init_lora(config, LoraConfig(targets=ALL), jax.random.key(0))
    np.testing.assert_array_equal(our_logits(config, params, fresh), our_logits(config, params))


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_give_the_adapters_logits(base, kind):
    _, config, params = base
    adapter = perturbed(config, KINDS[kind])
    adapted = our_logits(config, params, adapter)
    assert np.abs(adapted - our_logits(config, params)).max() > 0.1
    np.testing.assert_allclose(our_logits(config, merge(params, adapter)), adapted, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_exported_to_peft_gives_the_same_logits(base, kind, tmp_path):
    folder, config, params = base
    adapter = perturbed(config, KINDS[kind])
    save_peft(tmp_path, adapter, str(folder))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path)
    np.testing.assert_allclose(torch_logits(model), our_logits(config, params, adapter), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_written_by_peft_gives_the_same_logits_here(base, kind, tmp_path):
    folder, config, params = base
    want = KINDS[kind]
    peft_config = PeftConfig(
        r=want.rank,
        lora_alpha=want.alpha,
        target_modules=list(want.targets),
        layers_to_transform=None if want.layers is None else list(want.layers),
        use_rslora=want.rslora,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), peft_config)
    model.save_pretrained(tmp_path)
    adapter = load_peft(tmp_path, config).lora
    assert adapter.config == want
    got = our_logits(config, params, adapter)
    assert np.abs(got - our_logits(config, params)).max() > 0.1
    np.testing.assert_allclose(got, torch_logits(model), atol=1e-4)


def test_a_stack_is_its_adapters_side_by_side(base):
    _, config, params = base
    adapters = [perturbed(config, KINDS["layer_subset"], seed) for seed in (0, 5)]
    together = jax.vmap(lambda one: our_logits_traced(config, params, one))(stack(adapters))
    for i, adapter in enumerate(unstack(stack(adapters))):
        np.testing.assert_allclose(together[i], our_logits(config, params, adapter), atol=1e-5)


def our_logits_traced(config, params, adapter):
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, 53, (2, 7)))
    return forward(config, params, tokens, jnp.ones((2, 7), bool), adapters=adapter)[logits()]


def test_dropout_acts_only_with_a_key_and_differs_between_projections(base):
    _, config, params = base
    adapter = perturbed(config, LoraConfig(rank=4, dropout=0.5))
    tokens, mask = jnp.ones((1, 5), jnp.int32), jnp.ones((1, 5), bool)
    run = lambda key: forward(config, params, tokens, mask, adapters=adapter, dropout_key=key)[logits()]
    still = run(None)
    assert not np.allclose(run(jax.random.key(0)), still)
    np.testing.assert_array_equal(run(jax.random.key(0)), run(jax.random.key(0)))
    np.testing.assert_array_equal(run(None), still)


def written(base, tmp_path, **changes):
    folder, config, _ = base
    save_peft(tmp_path, perturbed(config, KINDS["paper"]), str(folder), fingerprint="one")
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not supported"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"r": 5}, "this model needs"),
        ({"r": "four"}, "r must be a positive whole number"),
    ],
)
def test_what_is_not_plain_lora_is_refused_in_one_line(base, tmp_path, changes, message):
    config = written(base, tmp_path, **changes)
    with pytest.raises(SooError, match=message) as error:
        load_peft(tmp_path, config)
    assert "\n" not in str(error.value)


def test_an_adapter_for_another_base_is_refused(base, tmp_path):
    config = written(base, tmp_path)
    with pytest.raises(SooError, match="trained on other base weights"):
        load_peft(tmp_path, config, fingerprint="two")
    assert load_peft(tmp_path, config, fingerprint="one").lora.config.rank == 4


def test_unknown_targets_and_truncated_files_are_refused(base, tmp_path):
    config = written(base, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("q_proj", "c_attn"): value for name, value in tensors.items()}, path)
    with pytest.raises(SooError, match="c_attn"):
        load_peft(tmp_path, config)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SooError, match="truncated or not safetensors"):
        load_peft(tmp_path, config)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SooError, match="c_attn"):
        LoraConfig(targets=("c_attn",))
    with pytest.raises(SooError, match="rank"):
        LoraConfig(rank=0)
    with pytest.raises(SooError, match="dropout"):
        LoraConfig(dropout=1.0)


def test_the_gradients_of_both_factors_are_those_of_the_plain_products():
    config = LoraConfig(rank=2, alpha=6.0, targets=("q",))
    keys = jax.random.split(jax.random.key(0), 4)
    x, wanted = jax.random.normal(keys[0], (2, 5, 8)), jax.random.normal(keys[1], (2, 5, 6))
    factors = jax.random.normal(keys[2], (3, 8, 2)), jax.random.normal(keys[3], (3, 2, 6))
    lora = Lora({}, {}, config)

    def ours(a, b, x):
        return jnp.sum(jnp.sin(lora.delta("q_proj", {"a": {"q_proj": a}, "b": {"q_proj": b}}, x, None)) * wanted)

    def plain(a, b, x):
        return jnp.sum(jnp.sin(3.0 * (x @ a @ b)) * wanted)

    slopes = [jax.vmap(jax.grad(f, argnums=(0, 1, 2)), in_axes=(0, 0, None))(*factors, x) for f in (ours, plain)]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), *slopes)
