"""adapter_config.json as PEFT writes it: either the logits are those of PEFT, or a field is refused by its name."""

import json
from dataclasses import fields

import jax
import numpy as np
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from test_lora import KINDS, our_logits, perturbed, torch_logits
from test_lora import base as base
from transformers import AutoModelForCausalLM

from soo_jax.adapters import Member, Stack, load_peft, merge, save_peft, stack
from soo_jax.adapters.peft_fields import HANDLED, HARMLESS, PLAIN
from soo_jax.errors import SooError


def write(folder, base, before=False, **settings):
    """An adapter as PEFT writes it, factors random; returns PEFT's own model of it, loaded from disk."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base[0], dtype=torch.float32)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **settings}
    model = get_peft_model(model, PeftConfig(**config))
    if before:
        model.save_pretrained(folder / "start")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    convert = {"path_initial_model_for_weight_conversion": str(folder / "start")} if before else {}
    model.save_pretrained(folder, **convert)
    return reloaded(folder, base)


def reloaded(folder, base):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base[0], dtype=torch.float32), folder)


def change(folder, **settings):
    """Changes fields of the adapter's config; ... takes one out."""
    path = folder / "adapter_config.json"
    raw = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not ...}))


def same_as_peft(folder, base):
    _, config, params = base
    adapter = load_peft(folder, config).lora
    expected = torch_logits(reloaded(folder, base))
    np.testing.assert_allclose(our_logits(config, params, adapter), expected, atol=1e-4)
    np.testing.assert_allclose(our_logits(config, merge(params, adapter)), expected, atol=2e-4)
    assert np.abs(expected - our_logits(config, params)).max() > 0.05
    return adapter


def test_every_field_of_peft_is_in_exactly_one_table():
    known = {field.name for field in fields(PeftConfig)}
    assert known == set(HANDLED) | set(HARMLESS) | set(PLAIN)
    assert len(known) == len(HANDLED) + len(HARMLESS) + len(PLAIN)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_that_changed_its_base_is_refused_until_it_is_converted(base, tmp_path, start):
    write(tmp_path, base, init_lora_weights=start)
    with pytest.raises(SooError, match=r"init_lora_weights = .* changes the base"):
        load_peft(tmp_path, base[1])
    converted = tmp_path / "converted"
    converted.mkdir()
    write(converted, base, before=True, init_lora_weights=start)
    same_as_peft(converted, base)


@pytest.mark.parametrize("start", ["corda", "loftq", "lora_ga", "LoftQ", "a later one"])
def test_initialisations_that_may_change_the_base_are_refused(base, tmp_path, start):
    write(tmp_path, base)
    change(tmp_path, init_lora_weights=start)
    with pytest.raises(SooError, match="init_lora_weights"):
        load_peft(tmp_path, base[1])


@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal", "mica"])
def test_initialisations_that_keep_the_base_give_the_logits_of_peft(base, tmp_path, start):
    write(tmp_path, base, init_lora_weights=start)
    same_as_peft(tmp_path, base)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": ...},
        {"r": 8, "lora_alpha": ...},
        {"use_rslora": True},
        {"lora_dropout": ...},
        {"init_lora_weights": ...},
        {"target_modules": None},
        {"layers_to_transform": []},
        {"loftq_config": {"loftq_bits": 4}},
        {"peft_version": "9.9"},
        {"a_field_of_a_later_peft": None},
    ],
)
def test_fields_that_are_absent_null_or_harmless_mean_what_they_mean_to_peft(base, tmp_path, changes):
    write(tmp_path, base, r=changes.get("r", 4))
    change(tmp_path, **changes)
    if "a_field_of_a_later_peft" in changes:
        load_peft(tmp_path, base[1])
    else:
        same_as_peft(tmp_path, base)


SOME = {"x": 1}
WRONG = {
    "use_dora": True,
    "fan_in_fan_out": True,
    "bias": "all",
    "modules_to_save": ["lm_head"],
    "rank_pattern": {"q": 2},
    "alpha_pattern": {"q": 2},
    "megatron_config": SOME,
    "trainable_token_indices": [1],
    "velora_config": SOME,
    "alora_invocation_tokens": [1],
    "use_qalora": True,
    "monteclora_config": SOME,
    "layer_replication": [[0, 1]],
    "lora_bias": True,
    "target_parameters": ["x"],
    "use_bdlora": SOME,
    "arrow_config": SOME,
    "kasa_config": SOME,
    "ensure_weight_tying": True,
}


def test_every_field_that_must_do_nothing_has_a_value_that_is_refused_here():
    assert set(WRONG) == set(PLAIN)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *WRONG.items(),
        ("a_field_of_a_later_peft", True),
        ("r", None),
        ("r", True),
        ("r", 0),
        ("lora_alpha", None),
        ("lora_alpha", "16"),
        ("lora_alpha", float("inf")),
        ("lora_dropout", None),
        ("lora_dropout", "none"),
        ("lora_dropout", 1.5),
        ("use_rslora", "yes"),
        ("peft_type", "ADALORA"),
        ("target_modules", 3),
        ("target_modules", "("),
        ("target_modules", ["k_proj"]),
        ("target_modules", r".*\.0\.self_attn\.(q|v)_proj"),
        ("exclude_modules", ["v_proj"]),
        ("layers_to_transform", [0]),
        ("layers_to_transform", ["0"]),
    ],
)
def test_a_field_that_is_not_harmless_is_refused_by_name_in_one_line(base, tmp_path, field, value):
    write(tmp_path, base)
    change(tmp_path, **{field: value})
    with pytest.raises(SooError) as error:
        load_peft(tmp_path, base[1])
    said = str(error.value)
    assert "\n" not in said
    named = field if field not in ("exclude_modules", "layers_to_transform") else "target_modules and its companions"
    assert (named if value != ["0"] else field).replace("lora_dropout", "dropout") in said


PER_LAYER = {
    "full module paths": [
        "model.layers.0.self_attn.q_proj",
        "model.layers.2.mlp.up_proj",
        "model.layers.2.self_attn.q_proj",
    ],
    "a regex that picks some": r".*\.(0\.self_attn\.(q|k)_proj|3\.mlp\.down_proj)",
}


@pytest.mark.parametrize("how", PER_LAYER)
def test_targets_may_differ_from_layer_to_layer_and_survive_being_written_back(base, tmp_path, how):
    folder, config, params = base
    write(tmp_path, base, target_modules=PER_LAYER[how])
    adapter = same_as_peft(tmp_path, base)
    assert adapter.config.layers_by_target is not None
    again = tmp_path / "again"
    save_peft(again, adapter, str(folder))
    assert load_peft(again, config).lora.config == adapter.config
    np.testing.assert_allclose(torch_logits(reloaded(again, base)), our_logits(config, params, adapter), atol=1e-4)


def test_adapters_of_different_forms_are_stacked_and_stay_what_they_are(base, tmp_path):
    _, config, params = base
    write(tmp_path, base, target_modules=PER_LAYER["full module paths"])
    several = [load_peft(tmp_path, config).lora, *(perturbed(config, KINDS[kind]) for kind in KINDS)]
    together = stack(several, config)
    for one, alone in zip(Stack.of(several, None, config), several, strict=True):
        assert one.config == alone.config, "out of a stack it comes as it was"
        assert jax.tree.all(jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-6, atol=0), one, alone))
    for one, alone in zip(Stack.of(together), several, strict=True):
        np.testing.assert_allclose(our_logits(config, params, one), our_logits(config, params, alone), atol=2e-4)
        np.testing.assert_allclose(our_logits(config, merge(params, one)), our_logits(config, params, alone), atol=2e-4)
    with pytest.raises(SooError, match="without a model config"):
        stack(several)


def test_what_a_member_is_stands_inside_its_folder(base, tmp_path):
    folder, config, _ = base
    member = Member.of(seed=276, learning_rate=1e-3, layer=(1, 2), **{"weight.overlap": 0.5})
    save_peft(tmp_path / "any-name", perturbed(config, KINDS["paper"]), str(folder), member=member)
    assert load_peft(tmp_path / "any-name", config).member == member
    (tmp_path / "any-name" / "soo_adapter.json").write_text('{"schema": "soo-adapter/1", "member": {"seed": [1]}}')
    with pytest.raises(SooError, match="member must be an object of flat settings"):
        load_peft(tmp_path / "any-name", config)
