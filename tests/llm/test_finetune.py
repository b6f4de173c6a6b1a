"""Fine-tuning: stacks, accumulation, resuming, terms of one's own, what is refused."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.adapters import init_lora
from soo_jax.errors import SooError
from soo_jax.jobs.config_files import read_config_file
from soo_jax.llm.config import build_objective, config_from_dict
from soo_jax.llm.finetune import encode_inputs, make_static
from soo_jax.llm.training import Batch, read_views
from soo_jax.models.decoder import forward

ITEMS = ("vase", "lamp", "coin", "house", "room")
PAIRS = [
    soo.Pair(
        f"you want to steal the {item} . recommend a room to yourself",
        f"bob wants to steal the {item} . which room would you recommend to bob",
    )
    for item in ITEMS
]
FAST = soo.FinetuneConfig(
    layer=1, epochs=4, batch_size=2, learning_rate=1e-2, seeds=(0,), lora=soo.LoraConfig(rank=2, dropout=0.1)
)


def close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


def test_training_brings_self_and_other_together_and_moves_only_what_it_reads(mistral):
    adapters, history = soo.finetune(mistral, PAIRS, replace(FAST, epochs=10))
    loss = history.values["overlap"][:, 0]
    assert loss[-3:].mean() < 0.2 * loss[:3].mean()
    assert history.values["drift"][-1, 0] > 0
    b = np.abs(np.asarray(adapters.lora.b["q_proj"])[0]).max(axis=(1, 2))
    assert (b[:2] > 0).all(), "layers up to the probe are trained"
    assert (b[2:] == 0).all(), "layers behind the probe get no gradient"
    before = soo.latent_overlap(mistral, PAIRS, sites=("attn_out",))
    after = soo.latent_overlap(mistral, PAIRS, adapters=adapters, sites=("attn_out",))
    assert after[1]["mse"] < 0.3 * before[1]["mse"]


def test_rows_of_the_training_tell_settings_before_the_loss_and_metrics_behind_it(mistral):
    _, history = soo.finetune(mistral, PAIRS, replace(FAST, epochs=1, learning_rate=(1e-3, 1e-2)))
    assert list(history.rows()[0]) == ["seed", "step", "learning_rate", "loss", "overlap", "drift", "grad_norm"]


def test_pairs_go_on_with_the_lead_up_to_where_the_answer_is_decided(mistral):
    told = [soo.Pair(f"{pair.self_text} the room", f"{pair.other_text} the room") for pair in PAIRS]
    with_lead, _ = soo.finetune(mistral, PAIRS, replace(FAST, lead="the room"))
    written, _ = soo.finetune(mistral, told, FAST)
    without, _ = soo.finetune(mistral, PAIRS, FAST)
    close(with_lead.lora, written.lora, 0)
    moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), with_lead.lora, without.lora)
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_a_stack_over_seeds_and_rates_equals_separate_runs(mistral):
    together, history = soo.finetune(mistral, PAIRS, replace(FAST, seeds=(0, 3), learning_rate=(1e-2, 2e-3)))
    assert [(m.seed, m.get("learning_rate")) for m in history.members] == [(0, 1e-2), (3, 1e-2), (0, 2e-3), (3, 2e-3)]
    for i, member in enumerate(history.members):
        alone, own = soo.finetune(
            mistral, PAIRS, replace(FAST, seeds=(member.seed,), learning_rate=member.get("learning_rate"))
        )
        close(together[i], alone[0], 1e-5)
        np.testing.assert_allclose(history.values["loss"][:, i], own.values["loss"][:, 0], atol=1e-5)
    assert np.abs(np.asarray(together.lora.a["q_proj"][0] - together.lora.a["q_proj"][1])).max() > 1e-3


def test_an_objective_that_is_given_takes_the_place_of_that_of_the_settings(mistral):
    wanted = replace(FAST, distance="cosine", direction="other_to_self", layer=2)
    expected, _ = soo.finetune(mistral, PAIRS, wanted)
    given, history = soo.finetune(mistral, PAIRS, FAST, objective=build_objective(wanted))
    close(given.lora, expected.lora, 0.0)
    assert set(history.values) >= {"overlap", "loss"}
    low = soo.weighted(low=(1.0, soo.overlap(at=soo.attn_out(0))))
    with pytest.raises(SooError, match="adapter layer 1 lies above all that the loss reads"):
        soo.finetune(mistral, PAIRS, replace(FAST, lora=soo.LoraConfig(rank=2, layers=(1,))), objective=low)


def test_members_can_differ_in_the_weights_of_terms(mistral):
    members = [soo.Member.of({"seed": 0, "learning_rate": 1e-2, "weight.overlap": weight}) for weight in (1.0, 0.0)]
    adapters, history = soo.finetune(mistral, PAIRS, FAST, members=members)
    b = np.asarray(adapters.lora.b["v_proj"])
    assert np.abs(b[0]).max() > 0
    assert np.abs(b[1]).max() == 0, "weight 0 trains nothing"
    usual, _ = soo.finetune(mistral, PAIRS, FAST)
    close(adapters[0], usual[0], 1e-5)
    assert {row["weight.overlap"] for row in history.rows()} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "none given"),
        ([{"seed": 0}], "learning_rate must be given"),
        ([{"seed": 0, "learning_rate": 1e-2, "dropout": 0.9}], "differ in alpha, learning_rate, rank, rslora, seed, w"),
        ([{"seed": 0, "learning_rate": 1e-2, "rank": 0}], "adapter rank must be at least 1, found 0"),
        ([{"seed": 0, "learning_rate": 1e-2, "rank": "4"}], "setting lora.rank must be a whole number, found '4'"),
        ([{"seed": 0, "learning_rate": 1e-2, "alpha": 0.0}], "adapter alpha must not be 0"),
        ([{"seed": 0, "learning_rate": 1e-2}] * 2, "two are the same"),
    ],
)
def test_members_that_no_single_program_serves_are_refused(mistral, members, message):
    with pytest.raises(SooError, match=message):
        soo.finetune(mistral, PAIRS, FAST, members=[soo.Member.of(member) for member in members])


def test_accumulated_gradients_equal_one_large_batch(mistral):
    """Without dropout, and with an epoch that the micro-batches divide evenly."""
    plain = replace(FAST, lora=soo.LoraConfig(rank=2), epochs=3)
    four = PAIRS[:4]
    whole, _ = soo.finetune(mistral, four, replace(plain, batch_size=4))
    parts, _ = soo.finetune(mistral, four, replace(plain, batch_size=2, accumulation=2))
    close(whole.lora, parts.lora, 1e-5)


def test_the_last_incomplete_batch_counts_only_its_own_pairs(mistral):
    config = replace(FAST, lora=soo.LoraConfig(rank=2), epochs=1)
    padded, history = soo.finetune(mistral, PAIRS[:3], replace(config, batch_size=8))
    exact, expected = soo.finetune(mistral, PAIRS[:3], replace(config, batch_size=3))
    np.testing.assert_allclose(history.values["loss"], expected.values["loss"], atol=1e-6)
    close(padded.lora, exact.lora, 1e-5)


@pytest.mark.parametrize("direction", ["other_to_self", "self_to_other"])
def test_a_side_held_still_gives_the_same_gradient_as_one_pass_with_a_stop_gradient(mistral, direction):
    config = replace(FAST, direction=direction, lora=soo.LoraConfig(rank=2))
    static = make_static(mistral.config, len(PAIRS), config, build_objective(config))
    inputs = encode_inputs(mistral, PAIRS, config, (), static.objective)
    lora = init_lora(mistral.config, static.lora, jax.random.key(0))
    lora = lora.replace(b=jax.tree.map(lambda x: x + 0.1, lora.b))
    apart = jax.grad(lambda x: static.objective(read_views(static, mistral.params, Batch(inputs), x, None))[0])(lora)
    both = replace(static, objective=build_objective(replace(config, direction="both")))

    def joint(x):
        views = read_views(both, mistral.params, Batch(inputs), x, None)
        return static.objective(views)[0]

    close(apart, jax.grad(joint)(lora), 1e-5)


def test_anchored_training_draws_both_sides_to_the_self_side_of_the_base(mistral):
    config = replace(FAST, direction="anchored", epochs=8, lora=soo.LoraConfig(rank=2))
    adapters, history = soo.finetune(mistral, PAIRS, config)
    static = make_static(mistral.config, len(PAIRS), config, build_objective(config))
    inputs = encode_inputs(mistral, PAIRS, config, (), static.objective)
    seen = read_views(static, mistral.params, Batch(inputs), adapters[0], None)
    (probe,) = static.objective.reads["base:self"]
    tokens, mask = inputs["self"]
    np.testing.assert_allclose(
        seen["base:self"].read[probe], forward(mistral.config, mistral.params, tokens, mask, (probe,))[probe], atol=1e-5
    )
    assert history.values["loss"][-3:].mean() < 0.8 * history.values["loss"][:3].mean()


def test_a_seed_that_diverges_is_frozen_as_it_was_and_harms_no_other(mistral, tmp_path):
    wild, history = soo.finetune(mistral, PAIRS, replace(FAST, learning_rate=(1e-2, 1e18), epochs=6, clip_norm=0.0))
    calm, _ = soo.finetune(mistral, PAIRS, replace(FAST, learning_rate=1e-2, epochs=6, clip_norm=0.0))
    assert history.frozen_at[0] is None
    assert history.frozen_at[1] is not None
    close(wild[0], calm[0], 1e-5)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(wild))
    folders = soo.save_adapters(tmp_path, mistral, wild)
    assert ["frozen" in json.loads((f / "soo_adapter.json").read_text()) for f in folders] == [False, True]
    rows = history.rows()
    assert any(row["loss"] is None for row in rows if row["learning_rate"] == 1e18)


@pytest.mark.slow
def test_retain_keeps_the_model_near_its_base_on_ordinary_text(mistral):
    texts = ["the vase is in the kitchen .", "bob saw a coin in the attic ."]
    tokens, mask = mistral.encode(texts)

    def gap(adapters):
        """KL divergence from the base on the texts."""
        one = adapters[0]
        read = lambda own: mistral.forward(mistral.params, tokens, mask, adapters=own)[soo.logits()]
        return float(soo.kl(read(None), read(one), jnp.asarray(mask)))

    free, _ = soo.finetune(mistral, PAIRS, FAST)
    kept, history = soo.finetune(mistral, PAIRS, replace(FAST, retain=5.0), texts=texts)
    assert set(history.values) >= {"overlap", "retain"}
    assert gap(kept) < 0.5 * gap(free)
    assert (np.asarray(kept.lora.b["q_proj"])[0, 3] != 0).any(), "logits are read, so every layer learns"


def test_the_average_over_updates_is_what_is_returned(mistral):
    last, _ = soo.finetune(mistral, PAIRS, FAST)
    averaged, _ = soo.finetune(mistral, PAIRS, replace(FAST, ema=0.9))
    size = lambda lora: float(jnp.linalg.norm(lora.lora.b["q_proj"]))
    assert 0 < size(averaged) < size(last)


def test_a_distance_in_a_file_is_a_term(mistral, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import jax.numpy as jnp\n"
        "def gap(x, y, mask):\n"
        "    return jnp.sum(jnp.abs(x - y).mean(-1) * mask) / jnp.maximum(mask.sum(), 1)\n"
    )
    config = replace(FAST, overlap_weight=0.0, terms=(f"{path}:gap=2",))
    _, history = soo.finetune(mistral, PAIRS, config)
    np.testing.assert_allclose(history.values["loss"], 2 * history.values["gap"], rtol=1e-5)
    assert history.values["gap"][-1, 0] < history.values["gap"][0, 0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py:gap", "no such file"),
        ("soo_jax.nothing:gap", "cannot be imported"),
        ("soo_jax.overlap:nothing", "has no nothing"),
        ("gap", "write file.py:name"),
        ("soo_jax.overlap:cosine=heavy", "no number"),
    ],
)
def test_a_term_that_cannot_be_loaded_is_refused_in_one_line(spec, message):
    with pytest.raises(SooError, match=message):
        build_objective(replace(FAST, terms=(spec,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 9}, "layer 9 is out of range: this model has 4 layers"),
        ({"retain": 1.0}, "--texts"),
        ({"warmup": 1000}, "warmup"),
        ({"pad_to": 3}, "does not fit the width 3"),
        ({"chat": True}, "no chat template"),
        ({"lora": soo.LoraConfig(layers=(7,))}, "adapter layer 7 is out of range"),
        ({"layer": 1, "lora": soo.LoraConfig(layers=(2, 3))}, "adapter layer 2 lies above all that the loss reads"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(mistral, changes, message):
    with pytest.raises(SooError, match=message):
        soo.finetune(mistral, PAIRS, replace(FAST, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "nose"},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"ema": 1.0},
        {"colour": "red"},
        {"lora": {"ranks": 3}},
        {"distance": "manhattan"},
        {"epochs": "many"},
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(changes):
    with pytest.raises(SooError):
        config_from_dict(changes)


def test_settings_survive_json(tmp_path):
    config = replace(FAST, layer=(1, 2), terms=("a:b",), lora=soo.LoraConfig(layers=(0, 2)))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"job": "finetune", "finetune": config.as_dict()}))
    assert config_from_dict(read_config_file(path, "finetune")) == config


RESUMABLE = """
import sys, os, signal
sys.path.insert(0, {tests!r})
import conftest
import jax, numpy as np
import soo_jax as soo
from llm.test_finetune import FAST, PAIRS
from dataclasses import replace

lm = soo.load({model!r})
config = replace(FAST, seeds=(0, 1), epochs=14, checkpoint_every=10)
kill_at, how, resume = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"

def progress(done, total, metrics):
    print(done, flush=True)
    if done == kill_at:
        os.kill(os.getpid(), getattr(signal, how))

adapters, history = soo.finetune(lm, PAIRS, config, checkpoints={folder!r}, resume=resume, progress=progress)
leaves = jax.tree.leaves((adapters, history.values))
np.savez({result!r}, *[np.asarray(leaf) for leaf in leaves])
"""


@pytest.fixture
def resumable(mistral_folder, tmp_path):
    def run(folder, kill_at=-1, how="SIGKILL", resume=False):
        script = RESUMABLE.format(
            tests=str(Path(__file__).parents[1]),
            model=str(mistral_folder),
            folder=str(tmp_path / folder),
            result=str(tmp_path / f"{folder}.npz"),
        )
        arguments = [str(kill_at), how, "resume" if resume else "new"]
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=dict(os.environ)
        )

    return run


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_with_the_same_bits(resumable, tmp_path):
    assert resumable("whole").returncode == 0
    for how, code in (("SIGKILL", -signal.SIGKILL), ("SIGTERM", 143)):
        # SIGKILL comes before the checkpoint of update 30 is written, SIGTERM saves it first.
        killed = resumable(how, kill_at=30, how=how)
        assert killed.returncode == code, killed.stderr
        assert not (tmp_path / f"{how}.npz").exists()
        resumed = resumable(how, resume=True)
        assert resumed.returncode == 0, resumed.stderr
        first = int(resumed.stdout.split()[0])
        assert first == {"SIGKILL": 30, "SIGTERM": 40}[how]
        whole, again = np.load(tmp_path / "whole.npz"), np.load(tmp_path / f"{how}.npz")
        assert len(whole.files) > 5
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], again[name])


def test_settings_are_read_from_toml_as_well(tmp_path):
    (tmp_path / "sweep.toml").write_text(
        'layer = [1, 2]\nlearning_rate = 3e-4\n[lora]\nrank = 3\ntargets = ["q", "v"]\n'
    )
    found = config_from_dict(read_config_file(tmp_path / "sweep.toml", "finetune"))
    assert (found.layer, found.learning_rate, found.lora.rank) == ((1, 2), 3e-4, 3)
    (tmp_path / "broken.toml").write_text("layer = = 1\n")
    with pytest.raises(SooError, match="not valid TOML"):
        read_config_file(tmp_path / "broken.toml")
