"""GGUF files: numbers equal the format's own dequantisation, models equal the same as a folder, damage is one line."""

import struct
import warnings

import conftest as shared
import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import soo_jax as soo
from soo_jax.cli import run
from soo_jax.errors import SooError
from soo_jax.models.formats import SafetensorsReader
from soo_jax.models.formats.gguf import SUPPORTED, GgufReader, read_header
from soo_jax.models.gguf import GgufModel
from soo_jax.models.pretrained import MODELS, cached

KINDS = gguf.GGMLQuantizationType
WRITTEN = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}  # what the package can make itself
OWN = {
    "embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "q_proj": "attn_q",
    "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
    "down_proj": "ffn_down", "input_layernorm": "attn_norm", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def write_model(tmp_path_factory):
    """A random small model; what GGUF does not tell of Gemma-2 is as in all models of 2B and 9B."""
    gemma = {"query_pre_attn_scalar": 8}
    own = {"gemma2": gemma, "gemma3": {**gemma, "sliding_window_pattern": 6, "num_hidden_layers": 7}}
    return lambda kind: shared.write_model(tmp_path_factory.mktemp(kind), kind, **own.get(kind, {}))


def permuted(weight, heads):
    """The order that llama files keep the rows of q and k in."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def own_name(name, architecture):
    four = architecture in ("gemma2", "gemma3")
    norms = {"post_attention_layernorm": "post_attention_norm" if four else "ffn_norm"}
    norms |= {"pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    block = f"blk.{name.split('.')[2]}." if ".layers." in name else ""
    part = next(own for theirs, own in {**norms, **OWN}.items() if theirs in name)
    return f"{block}{part}.{name.rpartition('.')[2]}"


def write_gguf(folder, path, architecture, kind="F32", tokenizer=True, name=None):
    """The model of a folder as a GGUF file."""
    config = soo.load(folder).config
    writer = gguf.GGUFWriter(path, name or architecture)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope.theta)
    if architecture in ("gemma2", "gemma3"):
        writer.add_sliding_window(min(config.windows))
    if tokenizer:
        words = sorted(soo.load(folder).tokenizer.get_vocab().items(), key=lambda item: item[1])
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([word.replace(" ", "") for word, _ in words])
        writer.add_token_types([1] * len(words))
        writer.add_token_scores([0.0] * len(words))  # from which merges are found, where the file has none
        writer.add_eos_token_id(2)
        writer.add_bos_token_id(1)
    with SafetensorsReader(folder) as tensors:
        for name in tensors.names:
            value = tensors.read(name).astype(np.float32)
            if architecture in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
                value = permuted(value, config.num_heads if "q_proj" in name else config.num_kv_heads)
            if architecture in ("gemma2", "gemma3") and "norm" in name:
                value = value + 1
            wanted = KINDS[kind] if value.ndim > 1 and value.shape[-1] % 32 == 0 else KINDS.F32
            data = gguf.quants.quantize(value, wanted)
            writer.add_tensor(own_name(name, architecture), data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def one_tensor(path, kind, shape=(4, 256)):
    """A file of one tensor, and its raw bytes."""
    rng = np.random.default_rng(0)
    if kind in WRITTEN:
        data = gguf.quants.quantize(rng.standard_normal(shape).astype(np.float32), KINDS[kind])
    else:
        block, width = gguf.GGML_QUANT_SIZES[KINDS[kind]]
        data = rng.integers(0, 256, (shape[0], shape[1] // block * width), np.uint8)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("some.weight", data, raw_dtype=KINDS[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return data


@pytest.mark.parametrize("kind", SUPPORTED)
def test_every_type_is_read_as_the_format_itself_reads_it(kind, tmp_path):
    data = one_tensor(tmp_path / "one.gguf", kind)
    expected = gguf.quants.dequantize(data.view(np.uint8) if data.dtype != np.uint8 else data, KINDS[kind])
    with GgufReader(tmp_path / "one.gguf") as reader:
        found = reader.read("some.weight")
        assert reader.shape("some.weight") == found.shape == (4, 256)
        np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
        part = reader.read("some.weight", (slice(1, 3), slice(10, 20)))
        np.testing.assert_array_equal(part, found[1:3, 10:20])


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_a_file_gives_the_logits_of_the_same_model_as_a_folder(architecture, write_model, tmp_path):
    folder = write_model(architecture)
    path = write_gguf(folder, tmp_path / "model.gguf", architecture)
    ours, theirs = soo.load(path), soo.load(folder)
    tokens = np.arange(3, 19)[None] % ours.config.vocab_size
    mask = np.ones_like(tokens, bool)
    logits = [np.asarray(lm.forward(lm.params, tokens, mask)[soo.logits()]) for lm in (ours, theirs)]
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-4)
    assert np.abs(logits[1]).max() > 0.1 and ours.stop_tokens == (2,)


def test_a_file_becomes_a_folder_that_gives_the_same_and_takes_adapters(write_model, tmp_path, capsys):
    path = write_gguf(write_model("llama"), tmp_path / "model.gguf", "llama", "Q8_0")
    assert run(["convert", str(path), str(tmp_path / "folder")]) == 0
    ours, again = soo.load(path), soo.load(tmp_path / "folder")
    assert ours.fingerprint == again.fingerprint, "an adapter of the one serves the other"
    for name in ("q_proj", "down_proj"):
        one, other = (lm.params["layers"][name]["kernel"] for lm in (ours, again))
        np.testing.assert_array_equal(one, other)
    assert run(["convert", str(path), str(tmp_path / "folder")]) == 2
    assert "not empty" in capsys.readouterr().err
    import torch
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "folder").eval()
    tokens = np.arange(3, 15)[None]
    logits = ours.forward(ours.params, tokens, np.ones_like(tokens, bool))[soo.logits()]
    np.testing.assert_allclose(logits, theirs(torch.tensor(tokens)).logits.detach().numpy(), atol=2e-4)


def test_the_parts_of_a_split_model_are_read_together(write_model, tmp_path):
    whole = write_gguf(write_model("llama"), tmp_path / "whole.gguf", "llama")
    header = read_header(whole)
    names = list(header.tensors)
    raw = whole.read_bytes()
    for part, chosen in ((1, names[:10]), (2, names[10:])):
        writer = gguf.GGUFWriter(tmp_path / f"m-{part:05d}-of-00002.gguf", "llama")
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, bool: writer.add_bool}
        for key, value in header.metadata.items() if part == 1 else ():
            if key != "general.architecture" and type(value) in add:
                add[type(value)](key, value)
        for name in chosen:
            tensor = header.tensors[name]
            values = np.frombuffer(raw[tensor.start : tensor.start + tensor.size], np.float32).reshape(tensor.shape)
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with GgufModel(tmp_path / "m-00001-of-00002.gguf") as split, GgufModel(whole) as one:
        assert set(split.names) == set(one.names)
        for name in one.names:
            np.testing.assert_array_equal(split.read(name), one.read(name))
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(SooError, match="this part of the model is missing; put all 2 parts into one folder"):
        GgufReader(tmp_path / "m-00001-of-00002.gguf")


def damaged(name, raw):
    """A sound file's bytes, made wrong in one way."""
    at_counts = 8
    return {
        "empty": b"",
        "foreign": b"PK\x03\x04" + raw[4:],
        "version 1": raw[:4] + struct.pack("<I", 1) + raw[8:],
        "big-endian": raw[:4] + struct.pack(">I", 3) + raw[8:],
        "cut in the header": raw[:200],
        "cut in the numbers": raw[:-100],
        "more tensors than bytes": raw[:at_counts] + struct.pack("<Q", 1 << 60) + raw[16:],
        "more keys than bytes": raw[:16] + struct.pack("<Q", 1 << 60) + raw[24:],
        "a text of terabytes": raw[:24] + struct.pack("<Q", 1 << 42) + raw[32:],
        "a negative length": raw[:24] + struct.pack("<q", -1) + raw[32:],
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "cannot be read"), ("foreign", "is no GGUF file"), ("version 1", "of version 1"),
        ("big-endian", "little-endian"), ("cut in the header", "is damaged"), ("cut in the numbers", "is truncated"),
        ("more tensors than bytes", "is damaged"), ("more keys than bytes", "is damaged"),
        ("a text of terabytes", "is truncated"), ("a negative length", "is truncated"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_and_asks_for_no_memory(name, words, write_model, tmp_path, capsys):
    path = write_gguf(write_model("llama"), tmp_path / "model.gguf", "llama")
    path.write_bytes(damaged(name, path.read_bytes()))
    assert run(["eval", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("soo: error: ") and words in said and str(path) in said
    assert not (tmp_path / "out").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 4000), value=st.integers(0, 255), cut=st.integers(0, 5000))
def test_whatever_byte_is_wrong_a_file_is_read_or_refused(place, value, cut, write_model, tmp_path):
    path = tmp_path / "model.gguf"
    if not path.exists():
        write_gguf(write_model("llama"), path, "llama")
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(raw[: len(raw) - cut])
    try:
        with GgufModel(wrong) as model:
            for name in model.names:
                assert model.read(name).shape == model.shape(name)
    except SooError as error:
        assert "\n" not in str(error)


def test_what_cannot_be_used_is_named_with_what_can(write_model, tmp_path):
    folder = write_model("llama")
    foreign = write_gguf(folder, tmp_path / "foreign.gguf", "llama", name="falcon")
    with pytest.raises(SooError, match="the architecture 'falcon' is not supported in GGUF; supported: gemma2, gemma3"):
        soo.load(foreign)
    with pytest.raises(SooError, match="holds no tokenizer"):
        soo.load(write_gguf(folder, tmp_path / "mute.gguf", "llama", tokenizer=False))
    with pytest.raises(SooError, match="no such file; give a GGUF file"):
        soo.load(tmp_path / "nowhere.gguf")
    one_tensor(tmp_path / "q2.gguf", "Q2_K")
    with pytest.raises(SooError, match=r"some\.weight is stored as Q2_K, which is not supported"):
        GgufReader(tmp_path / "q2.gguf")


def real(name):
    path = cached(name)
    if path is None:
        pytest.skip(f"{name} is not in the cache: python scripts/fetch_models.py {name} ({MODELS[name].megabytes} MB)")
    return path


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["smollm2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen05", "qwen15", "gemma3"))]
)
def test_a_real_model_answers_token_for_token_as_transformers_does(name):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from soo_jax.llm.evaluate import EvalConfig, answer

    path = real(name)
    lm = soo.load(path)
    texts = [scenario.prompt for scenario in soo.english_scenarios(n=1)][:12]
    chat = lm.has_chat_template
    prompts = [lm.as_chat(text) for text in texts] if chat else texts
    found = answer(lm, prompts, EvalConfig(max_new_tokens=16, batch_size=12, chat=chat)).texts[0]
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    for prompt, ours in zip(prompts, found, strict=True):
        ids = tokenizer(prompt, add_special_tokens=not chat, return_tensors="pt")["input_ids"]
        assert lm.token_ids([prompt], chat=chat)[0] == ids[0].tolist()
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=16, do_sample=False, pad_token_id=0)
        assert ours == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
