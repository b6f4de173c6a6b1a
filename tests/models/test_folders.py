"""Two places that say one thing, and files that hold the same model in another form."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

import soo_jax as soo
from soo_jax.errors import SooError, SooWarning
from soo_jax.llm import folders
from soo_jax.models.weights import quantise

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
TOKENS = np.arange(3, 15)[None]


@pytest.fixture
def folder(mistral_folder, tmp_path):
    """A copy of a good model folder, to be changed."""
    return Path(shutil.copytree(mistral_folder, tmp_path / "model"))


def tensors_of(folder):
    return load_file(folder / "model.safetensors")


def write(folder, tensors, **settings):
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def theirs(folder):
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return model(torch.tensor(TOKENS)).logits.numpy()


def ours(lm):
    return np.asarray(lm.forward(lm.params, TOKENS, np.ones_like(TOKENS, bool))[soo.logits()])


def adapter_for(lm):
    import jax

    lora = soo.init_lora(lm.config, soo.LoraConfig(rank=2), jax.random.key(0))
    return lora.replace(b=jax.tree.map(lambda leaf: leaf + 0.1, lora.b))


def test_a_stored_head_counts_before_a_tie_as_in_transformers_and_merging_keeps_it(folder, tmp_path):
    write(folder, tensors_of(folder), tie_word_embeddings=True)
    with pytest.warns(SooWarning, match="ties lm_head.weight to the embedding, but the file holds another one"):
        lm = soo.load(folder)
    np.testing.assert_allclose(ours(lm), theirs(folder), atol=1e-4)
    out = soo.merge_folder(lm, adapter_for(lm), tmp_path / "merged")
    merged = soo.load(out)
    np.testing.assert_array_equal(merged.params["embedding"]["lm_head"], lm.params["embedding"]["lm_head"])
    np.testing.assert_allclose(ours(merged), theirs(out), atol=1e-4)


@pytest.mark.parametrize("kept", [EMBEDDING, HEAD])
def test_a_tied_model_may_be_stored_under_either_name(folder, kept):
    tensors = tensors_of(folder)
    one = tensors.pop(HEAD)
    tensors.pop(EMBEDDING)
    write(folder, {**tensors, kept: one}, tie_word_embeddings=True)
    lm = soo.load(folder)
    np.testing.assert_array_equal(lm.params["embedding"]["embedding"], one)
    np.testing.assert_allclose(ours(lm), theirs(folder), atol=1e-4)


def test_a_single_file_counts_before_an_index_as_in_transformers(folder):
    old = {name: value + 1 for name, value in tensors_of(folder).items()}
    save_file(old, folder / "model-00001-of-00001.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(old, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.warns(SooWarning, match="the single file is read, as in transformers"):
        lm = soo.load(folder)
    np.testing.assert_allclose(ours(lm), theirs(folder), atol=1e-4)


def test_weights_of_several_dtypes_are_read_as_float32_and_that_is_said(folder):
    tensors = tensors_of(folder)
    write(folder, {name: v.astype(np.float16) if "norm" not in name else v for name, v in tensors.items()})
    with pytest.warns(SooWarning, match="float16 and float32; float32 is used"):
        lm = soo.load(folder)
    assert lm.params["embedding"]["embedding"].dtype == np.float32
    np.testing.assert_allclose(ours(lm), theirs(folder), atol=1e-4)


def test_the_fingerprint_is_of_the_model_and_not_of_its_file(folder, mistral):
    tensors = tensors_of(folder)
    with_frequencies = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32) for i in range(4)}
    write(folder, {**tensors, **with_frequencies})
    assert soo.load(folder).fingerprint == mistral.fingerprint
    tied = {name: value for name, value in tensors.items() if name != HEAD}
    write(folder, tied, tie_word_embeddings=True)
    alone = soo.load(folder).fingerprint
    write(folder, {**tied, HEAD: tensors[EMBEDDING]}, tie_word_embeddings=True)
    assert soo.load(folder).fingerprint == alone, "a copy of a tied head"
    write(folder, {**tied, HEAD: tensors[EMBEDDING]}, tie_word_embeddings=False)
    assert soo.load(folder).fingerprint == alone, "an untied head of the same values"
    assert alone != mistral.fingerprint
    changed = dict(
        tensors, **{"model.layers.2.mlp.up_proj.weight": tensors["model.layers.2.mlp.up_proj.weight"] * 1.01}
    )
    write(folder, changed, tie_word_embeddings=False)
    assert soo.load(folder).fingerprint != mistral.fingerprint, "another model of the same shapes"


def test_other_parameters_have_the_fingerprint_that_they_would_have_from_a_file(folder, mistral, tmp_path):
    assert mistral.with_params(dict(mistral.params)).fingerprint == mistral.fingerprint, "the same numbers"
    config = soo.LoraConfig(rank=2, targets=("down",), layers=(2,))
    fresh = soo.init_lora(mistral.config, config, jax.random.key(0))
    adapter = fresh.replace(b=jax.tree.map(jnp.ones_like, fresh.b))
    merged = mistral.with_params(soo.merge(mistral.params, adapter))
    assert merged.fingerprint != mistral.fingerprint
    soo.merge_folder(mistral, adapter, tmp_path / "merged")
    assert soo.load(tmp_path / "merged").fingerprint == merged.fingerprint
    soo.save_adapter(tmp_path / "adapter", mistral, adapter)
    with pytest.raises(SooError, match="trained on other base weights"):
        soo.load_adapter(merged, tmp_path / "adapter")
    assert soo.load_adapter(mistral.with_params(merged.params, mistral.fingerprint), tmp_path / "adapter")
    small = mistral.with_params(quantise(mistral.params, "nf4"))
    assert small.fingerprint == mistral.fingerprint, "adapters of the wide model fit"


def test_an_adapter_fits_its_base_after_the_base_was_saved_again(folder, mistral, tmp_path):
    soo.save_adapter(tmp_path / "adapter", mistral, adapter_for(mistral))
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    assert (folder / "model.safetensors.index.json").is_file()
    soo.load_adapter(soo.load(folder), tmp_path / "adapter")


def test_merging_keeps_named_chat_templates(folder, tmp_path):
    from conftest import word_tokenizer

    tokenizer = word_tokenizer()
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "tools"}
    tokenizer.save_pretrained(folder)
    lm = soo.load(folder)
    assert set(lm.tokenizer.chat_template) == {"default", "tool_use"}
    merged = soo.load(soo.merge_folder(lm, adapter_for(lm), tmp_path / "merged"))
    assert merged.tokenizer.chat_template == lm.tokenizer.chat_template
    assert merged.as_chat("where ?") == "where ?"


def half(folder):
    """The model's weights in bfloat16."""
    import ml_dtypes

    write(folder, {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors_of(folder).items()})
    return folder


def test_half_precision_is_widened_on_a_cpu_that_has_the_memory_and_that_is_said(folder, monkeypatch):
    half(folder)
    with pytest.warns(SooWarning, match="stored as bfloat16, loaded as float32, in which a CPU is faster"):
        wide = soo.load(folder)
    exact = soo.load(folder, "stored")
    assert wide.params["embedding"]["embedding"].dtype == np.float32
    assert exact.params["embedding"]["embedding"].dtype == "bfloat16"
    np.testing.assert_array_equal(
        wide.params["embedding"]["embedding"], np.asarray(exact.params["embedding"]["embedding"]).astype(np.float32)
    )
    monkeypatch.setattr("soo_jax.models.loading.free_bytes", lambda: 1000)
    assert soo.load(folder).params["embedding"]["embedding"].dtype == "bfloat16"
    assert wide.fingerprint == exact.fingerprint


def test_a_model_merged_by_the_program_keeps_the_precision_of_its_base(folder, tmp_path):
    from soo_jax.cli import run

    lm = soo.load(half(folder), "stored")
    soo.save_adapter(tmp_path / "adapter", lm, adapter_for(lm))
    assert run(["merge", str(folder), "--adapter", str(tmp_path / "adapter"), "--out", str(tmp_path / "merged")]) == 0
    assert soo.load(tmp_path / "merged", "stored").params["embedding"]["embedding"].dtype == "bfloat16"


@pytest.mark.parametrize("moves", [0, 1])
def test_a_folder_that_is_replaced_is_there_until_the_new_one_is_whole(folder, tmp_path, monkeypatch, moves):
    """Killed before or between the two renames, the old model is left, and the same command makes the new one."""
    out, made, real = soo.convert(folder, tmp_path / "out"), [], Path.rename
    (out / "notes.txt").write_text("of the old one")

    def dies(path, place):
        if len(made) == moves:
            raise SystemExit("killed")
        made.append(place)
        return real(path, place)

    monkeypatch.setattr(Path, "rename", dies)
    monkeypatch.setattr(folders.shutil, "rmtree", lambda *_, **__: None)  # nobody tidies up behind a kill
    with pytest.raises(SystemExit):
        soo.convert(folder, out, force=True)
    monkeypatch.undo()
    assert [path for path in (out, tmp_path / ".out.old") if (path / "notes.txt").is_file()]
    soo.convert(folder, out, force=True)
    assert ours(soo.load(out)).tolist() == ours(soo.load(folder)).tolist() and not (out / "notes.txt").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_model_that_vanishes_while_it_is_copied_is_refused(folder, tmp_path, monkeypatch):
    real = folders.shutil.copyfile

    def takes(source, place):
        (folder / "tokenizer_config.json").unlink(missing_ok=True)
        return real(source, place)

    monkeypatch.setattr(folders.shutil, "copyfile", takes)
    with pytest.raises(SooError, match=r"tokenizer_config.json: is gone while the model is copied"):
        soo.convert(folder, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
