"""What is wrong with a model or adapter folder is said in one line that names the file and the cure."""

import json
import shutil
from pathlib import Path

import pytest

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(mistral_folder, tmp_path):
    """A copy of a good model folder, to be spoilt."""
    return Path(shutil.copytree(mistral_folder, tmp_path / "model"))


def settings(folder, **changes):
    """Changes fields of config.json; None removes one."""
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not None}))


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_safetensors_at_all(folder):
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")


def index(weight_map):
    def spoil(folder):
        (folder / "model.safetensors").unlink()  # where it is there, the index does not count
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))

    return spoil


def removed(name):
    return lambda folder: (folder / name).unlink()


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def too_few_rows(folder):
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:12].copy()
    save_file(tensors, path, metadata={"format": "pt"})
    settings(folder, vocab_size=12)


SPOILT = {
    "tokenizer of another model": (too_few_rows, ["the tokenizer gives id", "has 12 rows", "do not belong together"]),
    "no config": (removed("config.json"), ["config.json: no such file", "Hugging Face folder"]),
    "no weights": (removed("model.safetensors"), ["no model.safetensors", "as safetensors"]),
    "truncated": (truncated, ["model.safetensors: truncated", "copy the file again"]),
    "a pointer": (no_safetensors_at_all, ["model.safetensors: truncated or not safetensors", "copy the file again"]),
    "pickled": (pickled, ["pytorch_model.bin: pickled", "save_pretrained", "convert"]),
    "index outside": (
        index({"model.norm.weight": "../secret.safetensors"}),
        [INDEX, "../secret", "inside this folder"],
    ),
    "index absolute": (index({"model.norm.weight": "/etc/passwd"}), [INDEX, "/etc/passwd", "inside this folder"]),
    "index, no shard": (index({"a": "model-9.safetensors"}), ["model-9.safetensors: named by", "copy the file"]),
    "index of numbers": (index({"a": 3}), [INDEX, "no weight_map", "copy the file again"]),
    "index empty": (index({}), [INDEX, "no weight_map"]),
    "no tokenizer": (removed("tokenizer.json"), ["no tokenizer", "copy it beside the weights"]),
    "broken tokenizer": (written("tokenizer.json", "{"), ["the tokenizer cannot be read"]),
    "config no JSON": (written("config.json", '{"model_type":'), ["config.json: not valid JSON"]),
    "config a list": (written("config.json", "[]"), ["config.json: expected a JSON object"]),
    "architecture": (
        lambda folder: settings(folder, architectures=["MambaForCausalLM"]),
        ["config.json: architecture MambaForCausalLM", "LlamaForCausalLM, MistralForCausalLM"],
    ),
    "no architecture": (
        lambda folder: settings(folder, architectures=None, model_type=None),
        ["config.json: architecture None", "supported: "],
    ),
    "too narrow": (
        lambda folder: settings(folder, hidden_size=16),
        ["model.embed_tokens.weight has shape (41, 32)", "config.json asks for (41, 16)"],
    ),
    "too many layers": (
        lambda folder: settings(folder, num_hidden_layers=5),
        ["tensor model.layers.4", "is missing", "config.json"],
    ),
    "too few layers": (
        lambda folder: settings(folder, num_hidden_layers=3),
        ["unexpected tensor model.layers.3", "config.json does not describe these weights"],
    ),
    "KV heads": (
        lambda folder: settings(folder, num_key_value_heads=3),
        ["num_attention_heads 4 is no multiple of num_key_value_heads 3"],
    ),
    "activation": (lambda folder: settings(folder, hidden_act="relu6"), ["activation 'relu6'", "supported: silu"]),
    "rope": (
        lambda folder: settings(folder, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}),
        ["rope type 'yarn'", "supported: default, linear, llama3"],
    ),
    "rope, no factor": (
        lambda folder: settings(folder, rope_parameters={"rope_type": "linear"}),
        ["config.json: factor must be a finite number, found None"],
    ),
    "rope of words": (
        lambda folder: settings(folder, rope_parameters={"rope_theta": "high"}),
        ["config.json: rope_theta must be a finite number, found 'high'"],
    ),
    "no width": (lambda folder: settings(folder, hidden_size=None), ["hidden_size must be a positive whole number"]),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_model_folder_is_refused_by_file_and_cure(refused, folder, case):
    spoil, words = SPOILT[case]
    spoil(folder)
    complaint = refused("eval", folder, "--quiet")
    assert str(folder) in complaint or "config:" in complaint
    for word in words:
        assert word in complaint


def test_a_folder_that_is_not_there_is_refused(refused, tmp_path):
    assert "no such model; give a Hugging Face folder on disk, a GGUF file" in refused("latent", tmp_path / "nowhere")


def test_a_dtype_that_does_not_exist_is_refused(refused, mistral_folder):
    assert "dtype 'int3' is not supported; choose auto, stored, float32" in refused(
        "latent", mistral_folder, "--dtype", "int3"
    )


# ---- adapters -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter_folder(mistral, tmp_path_factory):
    """A fresh adapter for the shared model."""
    import jax

    import soo_jax as soo

    path = tmp_path_factory.mktemp("adapter") / "seed-0"
    soo.save_adapter(path, mistral, soo.init_lora(mistral.config, soo.LoraConfig(rank=2), jax.random.key(0)))
    return path


@pytest.fixture
def adapter(adapter_folder, tmp_path):
    """A copy of a good adapter folder, to be spoilt."""
    return Path(shutil.copytree(adapter_folder, tmp_path / "adapter"))


def adapter_settings(**changes):
    def spoil(adapter):
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def renamed_factors(old, new):
    def spoil(adapter):
        from safetensors.numpy import load_file, save_file

        path = adapter / "adapter_model.safetensors"
        save_file({name.replace(old, new): value for name, value in load_file(path).items()}, path)

    return spoil


def another_fingerprint(adapter):
    (adapter / "soo_adapter.json").write_text('{"schema": "soo-adapter/1", "base": {"fingerprint": "0"}}')


def pickled_adapter(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def truncated_adapter(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


SPOILT_ADAPTERS = {
    "no config": (lambda adapter: (adapter / "adapter_config.json").unlink(), ["no adapter_config.json", "PEFT"]),
    "another base": (another_fingerprint, ["trained on other base weights", "load it with that model"]),
    "unknown target": (
        renamed_factors("self_attn.q_proj", "self_attn.qkv_proj"),
        ["qkv_proj", "is no LoRA factor of q_proj, k_proj"],
    ),
    "embeddings": (
        renamed_factors("layers.0.self_attn.q_proj", "embed_tokens"),
        ["embed_tokens", "is no LoRA factor of q_proj"],
    ),
    "a layer too many": (renamed_factors("layers.3.", "layers.30."), ["adapts layer 30", "layers 0 to 3"]),
    "another rank": (adapter_settings(r=3), ["lora_A of q_proj", "this model needs (3, 32)"]),
    "no rank": (adapter_settings(r="many"), ["r must be a positive whole number"]),
    "DoRA": (adapter_settings(use_dora=True), ["use_dora = True is not supported", "only plain LoRA"]),
    "prefix tuning": (adapter_settings(peft_type="PREFIX_TUNING"), ["'PREFIX_TUNING' is not supported"]),
    "pickled": (pickled_adapter, ["adapter_model.bin is pickled", "save it as adapter_model.safetensors"]),
    "truncated": (truncated_adapter, ["adapter_model.safetensors: truncated", "copy the file again"]),
}


@pytest.mark.parametrize("case", SPOILT_ADAPTERS)
def test_a_spoilt_adapter_is_refused_by_file_and_cure(refused, mistral_folder, adapter, case):
    spoil, words = SPOILT_ADAPTERS[case]
    spoil(adapter)
    complaint = refused("merge", mistral_folder, "--adapter", adapter)
    assert str(adapter) in complaint
    for word in words:
        assert word in complaint


def test_eval_and_latent_refuse_an_adapter_before_anything_is_asked(refused, mistral_folder, adapter):
    another_fingerprint(adapter)
    for command in (["eval", "--n", 1, "--no-margins", "--max-new-tokens", 1], ["latent"]):
        assert "other base weights" in refused(command[0], mistral_folder, *command[1:], "--adapter", adapter)
