"""What the planner says is what the compiler says, and the layout that it chooses is one that fits."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.adapters.lora import num_params
from soo_jax.cli import run
from soo_jax.errors import SooError
from soo_jax.llm import memory, traced, training
from soo_jax.llm.chips import CHIPS, parse_devices
from soo_jax.llm.memory import Texts, abstract_params, answering, finetuning, parameters
from soo_jax.llm.planner import Mesh, Work, choose_mesh, most_stacked, plan
from soo_jax.models.config import GLOBAL, PROJECTIONS, DecoderConfig
from soo_jax.models.decoder import forward
from soo_jax.models.generate import generate
from soo_jax.models.weights import quantise

LAYERS = 6
MODEL = DecoderConfig("mistral", 2000, 256, 704, LAYERS, 8, 4, 32, 512, (GLOBAL,) * LAYERS)


def compiled_bytes(monkeypatch, config, dtype):
    """What XLA sets aside for a training step of the shapes that the planner looked at."""
    seen = []

    def spy(function, *arguments):
        seen.append((function, arguments))
        return traced.cost(function, *arguments)

    monkeypatch.setattr(memory, "cost", spy)
    planned = finetuning(MODEL, config, dtype)
    function, (params, data, member, _, _) = seen[-1]
    recipe = function.args[0]
    count = len(config.seeds)
    varied = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), member)
    state = jax.eval_shape(partial(training.init_state, recipe), varied)
    updates = jax.ShapeDtypeStruct((), jnp.int32)
    used = training.train.lower(recipe, params, data, varied, state, updates).compile().memory_analysis()
    return planned, used.argument_size_in_bytes + used.temp_size_in_bytes


SETTINGS = {
    "middle_layer": (soo.FinetuneConfig(seeds=(0, 1)), "float32"),
    "one_layer_adapted": (soo.FinetuneConfig(seeds=(0, 1), lora=soo.LoraConfig(rank=8, layers=(3,))), "float32"),
    "late_layer": (soo.FinetuneConfig(seeds=(0, 1), layer=4), "float32"),
    "late_layer_remat": (soo.FinetuneConfig(seeds=(0, 1), layer=4, remat=True), "float32"),
    "five_seeds_all_layers": (soo.FinetuneConfig(seeds=(0, 1, 2, 3, 4), site="residual", layer=5), "float32"),
    "logits": (soo.FinetuneConfig(seeds=(0, 1), site="logits", tokens="all"), "float32"),
    "retain": (soo.FinetuneConfig(seeds=(0, 1), retain=1.0), "float32"),
    "nf4": (soo.FinetuneConfig(seeds=(0, 1), layer=4), "nf4:float32"),
}


SOON = ("one_layer_adapted", "late_layer_remat", "nf4")


@pytest.mark.parametrize(
    "name", [name if name in SOON else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_the_memory_of_fine_tuning_is_what_the_compiler_sets_aside(name, monkeypatch, optimised):
    planned, compiled = compiled_bytes(monkeypatch, *SETTINGS[name])
    assert planned.total == pytest.approx(compiled, rel=0.15)


@pytest.mark.parametrize("members", [1, 3])
def test_the_memory_of_answering_is_what_the_compiler_sets_aside(members, optimised):
    texts, batch, lora = Texts(prompt=96, answer=16), 32, soo.LoraConfig(rank=4)
    planned = answering(MODEL, lora, "float32", members, batch, texts)
    own = jax.eval_shape(partial(soo.init_lora, MODEL, lora), jax.random.key(0))
    stack = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), own)
    ids = (jax.ShapeDtypeStruct((batch, 96), jnp.int32), jax.ShapeDtypeStruct((batch, 96), bool))
    params = abstract_params(MODEL, "float32")
    program = jax.jit(
        lambda p, t, m, s: generate(
            MODEL, p, t, m, jax.random.key(0), max_new_tokens=16, stop_tokens=(2,), adapters=s, stacked=True
        )
    )
    used = program.lower(params, *ids, stack).compile().memory_analysis()
    assert planned.total == pytest.approx(used.argument_size_in_bytes + used.temp_size_in_bytes, rel=0.15)


def test_weights_and_adapters_are_counted_as_they_are(mistral):
    norms = (2 * mistral.config.num_layers + 1) * mistral.config.width
    assert parameters(mistral.config) + norms == num_params(mistral.params)
    for dtype, params in (("float32", mistral.params), ("nf4:float32", quantise(mistral.params, "nf4"))):
        planned = answering(mistral.config, soo.LoraConfig(rank=3), dtype)
        assert planned.weights == sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    lora = soo.init_lora(mistral.config, soo.LoraConfig(rank=3), jax.random.key(0))
    assert planned.adapters == 4 * num_params(lora)


def test_the_backward_pass_of_an_early_layer_keeps_no_copy_of_the_weights_below_it():
    """Kept for each layer, they would be a second copy of the model; they are taken from the stack again."""
    params = abstract_params(MODEL, "float32")
    lora = jax.eval_shape(partial(soo.init_lora, MODEL, soo.LoraConfig(rank=2)), jax.random.key(0))
    tokens, mask = jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), bool)
    probe = soo.residual(LAYERS - 2)

    def loss(lora, params, tokens, mask):
        return jnp.sum(forward(MODEL, params, tokens, mask, (probe,), adapters=lora)[probe])

    kept = {leaf.shape for leaf in traced.kept_for_backward(loss, lora, params, tokens, mask)}
    passed = LAYERS - 1
    wide = {(passed, *MODEL.projection_shape(name)) for name in PROJECTIONS}
    assert any(shape[0] == passed for shape in kept), "what each layer keeps is stacked"
    assert not kept & wide


def test_a_product_counts_two_operations_for_each_number_that_is_summed():
    x, w = jnp.zeros((5, 7)), jnp.zeros((3, 7, 11))
    loop = lambda x, w: jax.lax.scan(lambda carry, one: (carry, x @ one), 0.0, w)[1]
    assert traced.cost(loop, x, w).flops == 3 * 2 * 5 * 7 * 11
    assert traced.cost(jax.jit(loop), x, w) == traced.cost(loop, x, w)


@pytest.mark.parametrize(
    "text, chip, count",
    [("h100x8", "h100", 8), ("h100", "h100", 1), ("a100-40x2", "a100-40", 2), ("v5e-16", "v5e", 16), ("v4-8", "v4", 4)],
)
def test_devices_are_named_as_their_makers_name_them(text, chip, count):
    assert parse_devices(text) == (CHIPS[chip], count)


@pytest.mark.parametrize("text", ["tpu", "h100x0", "h100x", "8", "h100x8x2"])
def test_devices_that_do_not_exist_are_refused(text):
    with pytest.raises(SooError, match="write CHIP or CHIPxCOUNT"):
        parse_devices(text)


def small_chip(share):
    """A chip of which the job takes this share when it runs on one device."""
    needs = plan(MODEL, CHIPS["h100"], 1, Work()).chosen.bytes
    return replace(CHIPS["h100"], memory=needs / share / 0.9)


def test_a_job_that_fits_one_device_is_not_cut_up_when_there_is_one():
    found = plan(MODEL, CHIPS["h100"], 1, Work())
    assert found.fits and found.chosen.mesh == Mesh() and str(found.chosen.mesh) == "none"


def test_a_job_that_does_not_fit_one_device_is_split_until_it_does():
    chip = small_chip(2.5)
    assert not plan(MODEL, chip, 1, Work()).fits
    found = plan(MODEL, chip, 8, Work())
    assert found.fits and found.chosen.bytes <= found.room and np.prod(found.chosen.mesh) > 1
    one = plan(MODEL, chip, 1, Work())
    assert one.cures and any("devices would fit" in cure for cure in one.cures)


def test_what_is_chosen_is_the_fastest_of_what_fits():
    found = plan(MODEL, CHIPS["h100"], 8, Work())
    for mesh in (Mesh(), Mesh(data=2), Mesh(tensor=4), Mesh(fsdp=8)):
        other = plan(MODEL, CHIPS["h100"], 8, Work(), mesh)
        assert other.chosen.mesh == mesh and found.chosen.seconds <= other.chosen.seconds


@pytest.mark.parametrize("mesh", [Mesh(), Mesh(data=2), Mesh(fsdp=2), Mesh(tensor=2), Mesh(sweep=2, tensor=4)], ids=str)
def test_devices_share_the_weights_as_the_mesh_says(mesh):
    work = Work(finetune=soo.FinetuneConfig(seeds=(0, 1)))
    whole, part = (plan(MODEL, CHIPS["h100"], 8, work, one).chosen for one in (Mesh(), mesh))
    assert part.weights * mesh.fsdp * mesh.tensor == whole.weights
    assert part.adapters * mesh.sweep == whole.adapters
    assert (part.links > 0) == (mesh.fsdp * mesh.tensor > 1)


def test_a_mesh_is_chosen_for_devices_that_nobody_knows():
    mesh, why = choose_mesh(MODEL, None, 8, Work())
    assert np.prod(mesh) == 8 and "GB on each of 8 devices" in why
    assert choose_mesh(MODEL, None, 1, Work()) == (Mesh(), "there is one device")


@pytest.fixture
def config_alone(tmp_path, mistral_folder):
    (tmp_path / "config.json").write_text((mistral_folder / "config.json").read_text())
    return tmp_path


def test_as_many_members_are_stacked_as_fit():
    work = Work(finetune=soo.FinetuneConfig(seeds=(0,)))
    five = plan(MODEL, CHIPS["h100"], 1, Work(finetune=soo.FinetuneConfig(seeds=tuple(range(5))))).chosen.bytes
    assert most_stacked(MODEL, work, five) == 5
    assert most_stacked(MODEL, work, five - 1) == 4
    assert most_stacked(MODEL, work, 1.0) == 1


def test_the_program_plans_from_a_config_alone(config_alone, capsys):
    assert run(["plan", str(config_alone), "--devices", "h100x8", "--seed", "0,1,2"]) == 0
    said = capsys.readouterr().out
    assert "3 adapters, 52 pairs" in said and "\nfits\n" in said and "not measured" in said
    assert run(["plan", str(config_alone), "--devices", "v5e-16", "--job", "eval", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    parts = told["bytes_per_device"]
    assert told["fits"] and parts["total"] == pytest.approx(
        sum(value for name, value in parts.items() if name not in ("total", "room"))
    )


@pytest.mark.parametrize(
    "options, words",
    [
        (["--devices", "tpu"], "write CHIP or CHIPxCOUNT"),
        (["--devices", "h100", "--job", "merge"], "job 'merge' is unknown; choose finetune, eval"),
        (["--devices", "h100", "--dtype", "int3"], "dtype 'int3' is not supported"),
        (["--devices", "h100", "--mesh", "tensor=2"], "needs 2 devices, but there are 1"),
        (["--devices", "h100", "--tokens", "0"], "--tokens must be at least 1"),
        (["--devices", "h100", "--preset", "paper"], "preset 'paper' is unknown"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(config_alone, capsys, options, words):
    assert run(["plan", str(config_alone), *options]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_auto_takes_the_one_device_there_is_and_says_so(mistral_folder, tmp_path, capsys):
    ask = ["latent", str(mistral_folder), "--out", str(tmp_path / "run"), "--quiet", "--mesh", "auto"]
    assert run(ask) == 0
    assert "soo: mesh none: there is one device" in capsys.readouterr().err
