"""Kernels in 4 and 8 bits: the codes, the products, and models that are loaded, saved and trained with them."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import write_model
from scipy.stats import norm

import soo_jax as soo
from soo_jax.cli import run
from soo_jax.models import loading, quantised, weights
from soo_jax.models.config import PROJECTIONS
from soo_jax.models.decoder import forward, init_params
from soo_jax.models.probes import logits

SCHEMES = quantised.SCHEMES
ERROR = {"nf4": (0.08, 0.10), "int8": (0.004, 0.008)}


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape) * 0.02


def test_the_levels_of_nf4_are_quantiles_of_the_normal_distribution():
    """QLoRA's definition: seven quantiles below zero, eight above, zero itself, the outermost ones at -1 and 1."""
    outermost = (1 - 1 / 32 + 1 - 1 / 30) / 2
    above = norm.ppf(np.linspace(outermost, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(outermost, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([above, [0.0], below])) / above[0]
    np.testing.assert_allclose(quantised.LEVELS, levels, atol=2e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_weight_gets_the_nearest_level_of_its_block(scheme):
    kernel = np.asarray(normal(2, 128, 5))
    held = quantised.quantise(kernel, scheme)
    steps = np.repeat(np.asarray(held.scales, np.float32)[:, :, 0], 64, axis=1)
    levels = quantised.LEVELS if scheme == "nf4" else np.arange(-127, 128)
    nearest = np.abs(kernel[..., None] - steps[..., None] * levels).min(-1)
    np.testing.assert_allclose(np.abs(kernel - quantised.widen(held, jnp.float32)), nearest, atol=1e-7)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("inputs", [64, 192, 100, 24], ids=lambda n: f"{n}_inputs")
def test_normal_weights_keep_their_values_within_the_error_of_the_scheme(scheme, inputs):
    kernel = normal(inputs, 512)
    held = quantised.quantise(kernel, scheme)
    wide = quantised.widen(held, jnp.float32)
    assert held.shape == wide.shape == kernel.shape
    error = float(jnp.linalg.norm(wide - kernel) / jnp.linalg.norm(kernel))
    low, high = ERROR[scheme]
    assert low * (0.8 if inputs < 64 else 1) < error < high


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_outlier_spoils_its_own_block_alone(scheme):
    kernel = normal(128, 4)
    spoiled = kernel.at[3, 2].set(5.0)
    error = jnp.abs(quantised.widen(quantised.quantise(spoiled, scheme), jnp.float32) - spoiled)
    usual = jnp.abs(quantised.widen(quantised.quantise(kernel, scheme), jnp.float32) - kernel)
    assert float(error[:64, 2].max()) > 2 * float(usual.max())
    untouched = error.at[:64, 2].set(0.0)
    np.testing.assert_array_equal(untouched, usual.at[:64, 2].set(0.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_block_of_zeros_stays_zero(scheme):
    wide = quantised.widen(quantised.quantise(jnp.zeros((64, 3)), scheme), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(wide, np.float32), 0.0)


@pytest.mark.parametrize("scheme, bits", [("nf4", 4.25), ("int8", 8.25)])
def test_a_weight_takes_the_bits_that_are_promised(scheme, bits):
    held = quantised.quantise(normal(256, 64), scheme)
    assert 8 * sum(leaf.nbytes for leaf in jax.tree.leaves(held)) / (256 * 64) == bits


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_and_slopes_are_those_of_the_widened_kernel(scheme):
    held, x = quantised.quantise(normal(100, 7), scheme), normal(5, 100, seed=1) * 50
    wide = quantised.widen(held, jnp.float32)
    np.testing.assert_allclose(quantised.matmul(x, held), x @ wide, rtol=1e-6)
    slope = lambda product: jax.grad(lambda x: jnp.sum(jnp.sin(product(x))))(x)
    np.testing.assert_allclose(slope(lambda x: quantised.matmul(x, held)), slope(lambda x: x @ wide), rtol=1e-5)


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def folder(request, tmp_path_factory):
    """A model with biases, and one with norms after each half."""
    changes = {"attention_bias": True} if request.param == "llama" else {}
    return write_model(tmp_path_factory.mktemp(request.param), request.param, **changes)


def differences(one, other):
    flat = lambda lm: jax.tree_util.tree_leaves_with_path(lm.params)
    pairs = zip(flat(one), flat(other), strict=True)
    return [jax.tree_util.keystr(path) for (path, a), (_, b) in pairs if not np.array_equal(a, b)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_is_quantised_while_it_is_loaded(folder, scheme):
    wide, small = soo.load(folder), soo.load(folder, scheme)
    assert small.dtype == f"{scheme}:float32" and wide.dtype == "float32"
    assert small.identity["held_as"] == small.dtype and "held_as" not in wide.identity
    assert differences(small, wide.with_params(weights.quantise(wide.params, scheme))) == []


def test_no_more_than_one_wide_tensor_is_handled_while_a_model_is_read(folder, monkeypatch):
    seen = []
    real = loading.quantise
    monkeypatch.setattr(loading, "quantise", lambda wide, scheme: seen.append(wide.shape) or real(wide, scheme))
    config = soo.load(folder, "nf4").config
    assert len(seen) == 7 * config.num_layers
    assert set(seen) == {config.projection_shape(name) for name in PROJECTIONS}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantised_model_computes_what_its_widened_weights_compute(folder, scheme):
    small = soo.load(folder, scheme)
    wide = weights.widen(small.params, jnp.float32)
    tokens, mask = small.encode(["you want to steal the vase", "which room"])
    ours, theirs = (forward(small.config, p, tokens, mask)[logits()] for p in (small.params, wide))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("dtype", ["nf4", "int8:bfloat16"])
def test_a_quantised_folder_holds_what_was_saved_and_answers_to_the_same_name(folder, tmp_path, dtype):
    assert run(["convert", str(folder), str(tmp_path / "small"), "--dtype", dtype]) == 0
    held, read = soo.load(folder, dtype), soo.load(tmp_path / "small")
    rest = "float32" if ":" not in dtype else "bfloat16"
    assert differences(soo.load(tmp_path / "small", f"{dtype.partition(':')[0]}:{rest}"), held) == []
    assert read.fingerprint == soo.load(folder).fingerprint, "adapters of the wide model must fit"
    assert read.dtype.startswith(dtype.partition(":")[0])


def test_a_saved_folder_is_a_third_as_large(tmp_path):
    wide = write_model(tmp_path / "wide", "llama", hidden_size=128, intermediate_size=512, head_dim=32)
    soo.convert(wide, tmp_path / "small", "nf4")
    size = lambda path: (path / "model.safetensors").stat().st_size
    assert size(tmp_path / "small") < size(wide) / 3


@pytest.fixture
def small(folder, tmp_path):
    return soo.convert(folder, tmp_path / "small", "nf4")


def refusal(capsys, *command):
    assert run(list(map(str, command))) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_changed_byte_is_noticed(small, tmp_path, capsys):
    path = small / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "model.safetensors: is not as it was written (sha256)" in refusal(
        capsys, "latent", small, "--out", tmp_path / "run"
    )


def test_a_missing_record_a_later_version_and_another_scheme_are_refused(small, tmp_path, capsys):
    ask = ("latent", small, "--out", tmp_path / "run")
    assert "holds nf4, not int8" in refusal(capsys, *ask, "--dtype", "int8")
    config = json.loads((small / "config.json").read_text())
    config["quantization_config"]["version"] = 2
    (small / "config.json").write_text(json.dumps(config))
    assert "another version of soo-jax" in refusal(capsys, *ask)
    config["quantization_config"]["version"] = 1
    (small / "config.json").write_text(json.dumps(config))
    (small / "soo_quantised.json").unlink()
    assert "soo_quantised.json" in refusal(capsys, *ask)


@pytest.mark.parametrize(
    "told, words",
    [
        ({"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}, "bitsandbytes (nf4)"),
        ({"quant_method": "gptq", "bits": 4}, "gptq (4 bits)"),
        ({"quant_method": "fp8"}, "fp8"),
        ("what", "an unknown method"),
    ],
    ids=["bitsandbytes", "gptq", "fp8", "nonsense"],
)
def test_weights_that_others_quantised_are_refused_by_name(mistral_folder, tmp_path, capsys, told, words):
    folder = soo.convert(mistral_folder, tmp_path / "foreign")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": told}))
    line = refusal(capsys, "latent", folder, "--out", tmp_path / "run")
    assert f"weights quantised by {words} are not read" in line and "--dtype nf4" in line


def test_a_quantised_folder_is_not_converted_to_a_wide_one(small, tmp_path, capsys):
    line = refusal(capsys, "convert", small, tmp_path / "wide", "--dtype", "float32")
    assert "holds its weights as nf4" in line and not (tmp_path / "wide").exists()


def test_nothing_is_added_to_quantised_weights(small, tmp_path, capsys):
    lm = soo.load(small)
    lora = soo.init_lora(lm.config, soo.LoraConfig(rank=2), jax.random.key(0))
    soo.save_adapter(tmp_path / "adapter", lm, lora)
    line = refusal(capsys, "merge", small, "--adapter", tmp_path / "adapter", "--out", tmp_path / "merged")
    assert "cannot be added to" in line and not (tmp_path / "merged").exists()


def pairs():
    return [
        soo.Pair(f"you want the {x} . recommend a room to yourself", f"bob wants the {x} . recommend a room to bob")
        for x in ("vase", "lamp", "coin", "kitchen")
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_soo_on_a_quantised_base_is_soo_on_its_widened_weights(folder, scheme):
    small = soo.load(folder, scheme)
    wide = small.with_params(weights.widen(small.params, jnp.float32))
    config = soo.FinetuneConfig(
        site="residual", layer=2, epochs=4, batch_size=2, learning_rate=1e-2, seeds=(0, 1), lora=soo.LoraConfig(rank=2)
    )
    (ours, history), (theirs, expected) = (soo.finetune(lm, pairs(), config) for lm in (small, wide))
    np.testing.assert_allclose(history.values["loss"], expected.values["loss"], rtol=1e-4)
    np.testing.assert_allclose(history.values["drift"], expected.values["drift"], rtol=1e-3, atol=1e-6)
    assert (history.values["loss"][-1] < history.values["loss"][0]).all()
    np.testing.assert_allclose(ours.lora.b["q_proj"], theirs.lora.b["q_proj"], atol=1e-3)


def test_a_checkpoint_of_the_wide_base_is_not_resumed_on_the_quantised_one(folder, tmp_path):
    config = soo.FinetuneConfig(layer=2, epochs=1, batch_size=4, lora=soo.LoraConfig(rank=2), checkpoint_every=1)
    soo.finetune(soo.load(folder), pairs(), config, checkpoints=tmp_path)
    with pytest.raises(soo.SooError, match="dtype"):
        soo.finetune(soo.load(folder, "nf4"), pairs(), config, checkpoints=tmp_path, resume=True)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "with_slopes"])
def test_at_most_one_layer_is_ever_wide(mistral, optimised, scheme, backward):
    """XLA is free to widen all layers before a loop; no array of the compiled program may be as large as that."""
    config = replace(mistral.config, num_layers=8, windows=(mistral.config.windows[0],) * 8, mlp_width=192, width=128)
    params = weights.quantise(init_params(config, jax.random.key(0)), scheme)
    tokens, mask = jnp.zeros((2, 8), jnp.int32), jnp.ones((2, 8), bool)
    lora = soo.init_lora(config, soo.LoraConfig(rank=2), jax.random.key(0))

    def total(lora, params):
        return jnp.sum(forward(config, params, tokens, mask, adapters=lora)[logits()])

    program = jax.jit(jax.grad(total) if backward else total).lower(lora, params).compile().as_text()
    wide = [int(np.prod([int(n) for n in dims.split(",")])) for dims in re.findall(r"f32\[([\d,]+)\]", program)]
    one = config.width * config.mlp_width
    assert one in wide, "the search must see the layer that is wide"
    assert max(wide) < 2 * one
