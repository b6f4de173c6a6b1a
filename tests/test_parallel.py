"""On 8 devices: the same numbers as on one, and weights that really lie in pieces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ARCHITECTURES, PATIENT, write_model

from soo_jax.errors import SooError
from soo_jax.models.architectures import read_config
from soo_jax.models.config import PROJECTIONS
from soo_jax.parallel import parse_mesh

MESHES = {"sharded": "data=2,fsdp=2,tensor=2", "sweep": "sweep=2,data=2,tensor=2"}

sharded = pytest.mark.parametrize("mesh", ["sharded"], indirect=True)
sweep = pytest.mark.parametrize("mesh", [pytest.param("sweep", marks=pytest.mark.slow)], indirect=True)
both_meshes = pytest.mark.parametrize("mesh", [*sharded.args[1], *sweep.args[1]], indirect=True)

# One process for all tests of a mesh: XLA can be told of 8 host devices only before it starts.
SCRIPT = """
import json, sys
import jax, numpy as np
import soo_jax as soo
from soo_jax.llm.finetune import finetune

folder, out = sys.argv[1], sys.argv[2]
meshes = {"single": None, **json.loads(sys.argv[3])}
assert jax.device_count() == 8
items = ("vase", "lamp", "coin", "house", "room", "kitchen")
pairs = [
    soo.Pair(f"you want the {x} . recommend a room to yourself", f"bob wants the {x} . recommend a room to bob")
    for x in items
]
rooms = [("kitchen", "study"), ("attic", "cellar"), ("study", "attic")]
scenarios = [
    soo.Scenario("burglar", order, f"the {x} is in the {a} and the coin is in the {b} . which room would you recommend "
                 "to bob ?", a, b, "bob", "i would recommend the")
    for x in items for a, b in rooms for order in ("wrong_first", "right_first")
]
config = soo.FinetuneConfig(
    layer=2, epochs=8, batch_size=4, learning_rate=1e-2, seeds=(0, 1), lora=soo.LoraConfig(rank=2, dropout=0.1)
)
members = [soo.Member.of(seed=0, learning_rate=1e-2), soo.Member.of(seed=1, learning_rate=1e-2, rank=3, alpha=8.0)]
layouts, numbers, answers = {}, {}, {}
for name, text in meshes.items():
    lm = soo.load(folder, mesh=None if text is None else soo.parse_mesh(text))
    leaves = jax.tree_util.tree_leaves_with_path(lm.params)
    layouts[name] = {
        jax.tree_util.keystr(path): [list(leaf.shape), [list(s.data.shape) for s in leaf.addressable_shards]]
        for path, leaf in leaves
    }
    adapters, history = finetune(lm, pairs, config, members=members)
    if text is not None and "sweep" in text:
        b = adapters.lora.b["q_proj"]
        layouts[name]["adapters"] = [list(b.shape), [list(s.data.shape) for s in b.addressable_shards]]
    odd = soo.FinetuneConfig(**{**vars(config), "seeds": (0, 1, 2), "epochs": 1})
    three = soo.finetune(lm, pairs, odd)[0] if "sweep" in meshes else adapters
    ask = soo.EvalConfig(max_new_tokens=6, batch_size=16)
    done = [soo.evaluate(lm, scenarios, ask), soo.evaluate(lm, scenarios, ask, adapters=adapters)]
    for part, tree in (("adapters", list(adapters)), ("loss", history.values["loss"]), ("three", list(three))):
        for i, leaf in enumerate(jax.tree.leaves(tree)):
            numbers[f"{name}/{part}/{i}"] = np.asarray(leaf)
    numbers[f"{name}/margins"] = np.asarray([r["logp_margin"] for each in done for r in each.responses])
    answers[name] = [r["response"] for each in done for r in each.responses]
    latent = soo.latent_overlap(lm, pairs, adapters=adapters)
    numbers[f"{name}/latent"] = np.asarray([row["mse"] for row in latent])
np.savez(out + "/numbers.npz", **numbers)
open(out + "/layouts.json", "w").write(json.dumps({"layouts": layouts, "answers": answers}))
"""


def on_eight_devices(script, *arguments):
    """Runs a script in a process that has eight CPU devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {PATIENT}"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def mesh(request):
    """The name of a mesh."""
    return request.param


@pytest.fixture(scope="module")
def measured(tmp_path_factory, mesh):
    """Fine-tuning and evaluation on one device and on the mesh: ``(layouts, answers, numbers)``."""
    folder, out = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("measured")
    write_model(folder, "mistral", vocab_size=44, tie_word_embeddings=False)
    on_eight_devices(SCRIPT, folder, out, json.dumps({mesh: MESHES[mesh]}))
    found = json.loads((out / "layouts.json").read_text())
    return found["layouts"], found["answers"], dict(np.load(out / "numbers.npz"))


@both_meshes
@pytest.mark.parametrize("part", ["adapters", "three", "loss"])
def test_a_mesh_trains_the_adapters_of_a_single_device(measured, mesh, part):
    """``three``: three adapters do not divide by a sweep axis of two, and are trained all the same."""
    numbers = measured[2]
    names = [name for name in numbers if name.startswith(f"single/{part}/")]
    assert names
    for name in names:
        np.testing.assert_allclose(numbers[name.replace("single", mesh)], numbers[name], atol=1e-5, rtol=0)
    if part != "loss":
        assert max(np.abs(numbers[name]).max() for name in names) > 0.01


@both_meshes
def test_a_mesh_gives_the_answers_margins_and_latent_overlap_of_a_single_device(measured, mesh):
    _, answers, numbers = measured
    assert answers[mesh] == answers["single"] and len(set(answers["single"])) > 5
    np.testing.assert_allclose(numbers[f"{mesh}/margins"], numbers["single/margins"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(numbers[f"{mesh}/latent"], numbers["single/latent"], atol=1e-4, rtol=0)


@sharded
def test_no_device_holds_a_whole_matrix(measured):
    layout = measured[0]["sharded"]
    matrices = {
        name: where for name, where in layout.items() if name.endswith(("['kernel']", "g']['embedding']", "_head']"))
    }
    assert len(matrices) == 9
    for name, (shape, pieces) in matrices.items():
        assert len(pieces) == 8, name
        assert {int(np.prod(piece)) for piece in pieces} == {int(np.prod(shape)) // 4}, name
    assert all(pieces == [shape] for shape, pieces in measured[0]["single"].values())


@sweep
def test_the_sweep_axis_gives_each_half_of_the_devices_its_own_adapters(measured):
    shape, pieces = measured[0]["sweep"]["adapters"]
    assert shape[0] == 2
    assert {piece[0] for piece in pieces} == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [("rows=2", "AXIS=SIZE"), ("data=0", "AXIS=SIZE"), ("data", "AXIS=SIZE"), ("data=4096", "choose smaller sizes")],
)
def test_a_mesh_that_cannot_be_is_refused(text, message):
    with pytest.raises(SooError, match=message):
        parse_mesh(text)


LOGITS = """
import sys
import numpy as np
import soo_jax as soo

tokens = np.arange(3, 19).reshape(2, 8)
for folder in sys.argv[2:]:
    models = [soo.load(folder, sys.argv[1], mesh) for mesh in (None, soo.parse_mesh("data=2,fsdp=2,tensor=2"))]
    read = [np.asarray(lm.forward(lm.params, tokens, np.ones_like(tokens, bool))[soo.logits()]) for lm in models]
    assert np.abs(read[0]).max() > 0.1
    np.testing.assert_allclose(read[1], read[0], atol=1e-4, rtol=0, err_msg=folder)
"""


@pytest.mark.parametrize("dtype", ["float32", pytest.param("nf4", marks=pytest.mark.slow)])
def test_every_architecture_gives_the_same_logits_on_a_mesh(tmp_path, dtype):
    wide = (
        {} if dtype == "float32" else {"hidden_size": 128, "intermediate_size": 256}
    )  # blocks of 64 inputs, in halves
    folders = [write_model(tmp_path / name, name, **wide) for name in ARCHITECTURES]
    on_eight_devices(LOGITS, dtype, *folders)


QUANTISED = """
import contextlib, io, json, sys
import jax, numpy as np
import soo_jax as soo
from soo_jax.cli import run

folder, out = sys.argv[1], sys.argv[2]
pairs = [
    soo.Pair(f"you want the {x} . recommend a room to yourself", f"bob wants the {x} . recommend a room to bob")
    for x in ("vase", "lamp", "coin", "house")
]
config = soo.FinetuneConfig(layer=2, epochs=3, batch_size=4, learning_rate=1e-2, lora=soo.LoraConfig(rank=2))
told = {}
for name, text in {"single": None, "mesh": "data=2,fsdp=2,tensor=2"}.items():
    lm = soo.load(folder, "nf4", None if text is None else soo.parse_mesh(text))
    adapters, history = soo.finetune(lm, pairs, config)
    kernel = lm.params["layers"]["down_proj"]["kernel"]
    told[name] = {
        "loss": history.values["loss"].tolist(),
        "codes": [list(shard.data.shape) for shard in kernel.codes.addressable_shards],
        "scales": [list(shard.data.shape) for shard in kernel.scales.addressable_shards],
    }
said = io.StringIO()
with contextlib.redirect_stderr(said):
    told["code"] = run(["latent", folder, "--dtype", "nf4", "--mesh", "auto", "--quiet", "--out", out + "/run"])
told["said"] = said.getvalue()
open(out + "/told.json", "w").write(json.dumps(told))
"""


def test_a_quantised_base_lies_in_pieces_and_trains_as_on_a_single_device(tmp_path):
    """And ``--mesh auto`` finds a mesh for eight devices, and runs on it."""
    folder = tmp_path / "model"
    write_model(folder, "mistral", hidden_size=128, intermediate_size=256, head_dim=32, max_position_embeddings=512)
    on_eight_devices(QUANTISED, folder, tmp_path)
    told = json.loads((tmp_path / "told.json").read_text())
    np.testing.assert_allclose(told["mesh"]["loss"], told["single"]["loss"], rtol=1e-4)
    assert told["single"]["codes"] == [[4, 4, 32, 128]]
    assert told["mesh"]["codes"] == [[4, 2, 32, 64]] * 8 and told["mesh"]["scales"] == [[4, 2, 1, 64]] * 8
    assert told["code"] == 0 and "GB on each of 8 devices" in told["said"]


COLLECTIVES = r"""
import json, re, sys
import jax, jax.numpy as jnp
import soo_jax as soo
from soo_jax.llm.finetune import prepare
from soo_jax.llm.fixed import make_data
from soo_jax.llm.training import init_state, train
from soo_jax.llm.varied import make_varied
from soo_jax.parallel import replicated, settled, stack_sharding

folder, out, *meshes = sys.argv[1:]
pairs = [
    soo.Pair(f"you want the {x} . recommend a room to yourself", f"bob wants the {x} . recommend a room to bob")
    for x in ("vase", "lamp", "coin", "house")
] * 2
config = soo.FinetuneConfig(layer=2, epochs=2, batch_size=8, seeds=(0, 1), lora=soo.LoraConfig(rank=2))
found = {}
for text in meshes:
    lm = soo.load(folder, mesh=soo.parse_mesh(text))
    made = prepare(lm, pairs, config)
    static, data = make_data(lm, made.static, made.inputs)
    varied = jax.device_put(make_varied(made.members, made.forms, static), stack_sharding(lm.mesh, 2))
    data, state = jax.device_put(data, replicated(lm.mesh)), settled(init_state(static, varied), lm.mesh)
    hlo = train.lower(static, lm.params, data, varied, state, jnp.asarray(2)).compile().as_text()
    names = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    shapes = re.findall(rf"= \(?[a-z0-9]+\[([0-9,]*)\][^=]*? ({names})(?:-start)?\(", hlo)
    found[text] = [[op, [int(n) for n in shape.split(",") if n]] for shape, op in shapes]
open(out + "/collectives.json", "w").write(json.dumps(found))
"""


@pytest.mark.slow
def test_no_mesh_sends_a_weight_of_the_base_from_device_to_device(tmp_path):
    """Read off the compiled step of training: what goes over the links are activations and gradients of adapters."""
    folder = tmp_path / "model"
    write_model(folder, "mistral", hidden_size=128, intermediate_size=256, head_dim=32, max_position_embeddings=512)
    meshes = ["data=8", "data=4,tensor=2", "fsdp=8", "data=2,fsdp=2,tensor=2", "sweep=2,data=2,tensor=2"]
    on_eight_devices(COLLECTIVES, folder, tmp_path, *meshes)
    found = json.loads((tmp_path / "collectives.json").read_text())
    config = read_config(folder)
    kernels = {config.projection_shape(name) for name in PROJECTIONS}
    kernels |= {(out, into) for into, out in kernels}
    for text in meshes:
        assert found[text], "the mesh is used"
        for op, shape in found[text]:
            assert tuple(shape[-2:]) not in kernels, f"{text}: {op} of {shape}"
    summed = [shape for op, shape in found["data=8"] if op == "all-reduce"]
    assert max(int(np.prod(shape)) for shape in summed) <= 2 * 2 * 128, "gradients of two adapters of rank 2"
    assert any(op == "all-reduce" and shape[-1] == 128 for op, shape in found["data=4,tensor=2"]), "outputs of halves"
