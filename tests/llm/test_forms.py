"""Members whose adapters differ in rank and alpha train together, each as it would alone, and keep their own."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.llm.finetune import prepare
from soo_jax.llm.fixed import make_data
from soo_jax.llm.training import init_state, train
from soo_jax.llm.varied import make_varied
from soo_jax.models import weights

PAIRS = [
    soo.Pair(f"you want to steal the {item} . recommend a room to yourself", f"bob wants to steal the {item}")
    for item in ("vase", "lamp", "coin", "house")
]
FAST = soo.FinetuneConfig(
    layer=1, epochs=4, batch_size=2, learning_rate=1e-2, seeds=(0,), weight_decay=0.1,
    lora=soo.LoraConfig(rank=2, dropout=0.1, targets=("q", "v", "o"), layers=(0, 1)),
)  # fmt: skip
OWN = (
    {"seed": 0, "learning_rate": 1e-2, "rank": 2, "alpha": 32.0, "rslora": False},
    {"seed": 3, "learning_rate": 2e-3, "rank": 4, "alpha": 6.0, "rslora": False},
    {"seed": 0, "learning_rate": 2e-3, "rank": 1, "alpha": 8.0, "rslora": False},
    {"seed": 1, "learning_rate": 1e-2, "rank": 4, "alpha": 10.0, "rslora": True},
)
MEMBERS = [soo.Member.of(own) for own in OWN]


def alone(own):
    """The settings that train one member by itself."""
    lora = replace(FAST.lora, rank=own["rank"], alpha=own["alpha"], rslora=own["rslora"])
    return replace(FAST, seeds=(own["seed"],), learning_rate=own["learning_rate"], lora=lora)


@pytest.fixture(scope="module", params=["float32", "nf4"])
def base(request, mistral):
    """The model with plain or quantised weights."""
    params = mistral.params if request.param == "float32" else weights.quantise(mistral.params, request.param)
    return mistral.with_params(params)


@pytest.fixture(scope="module")
def together(base):
    """All members, trained in one program: the stack, and the history."""
    return soo.finetune(base, PAIRS, FAST, members=MEMBERS)


@pytest.mark.parametrize("i", range(len(OWN)), ids=["wide_alpha", "large_rank", "small_rank", "rank_stabilised"])
def test_a_member_with_a_rank_and_an_alpha_of_its_own_ends_as_it_would_alone(base, together, i):
    stack, history = together
    expected, own = soo.finetune(base, PAIRS, alone(OWN[i]))
    one = stack[i]
    assert one.config == expected[0].config == alone(OWN[i]).lora
    for side in ("a", "b"):
        for target, leaf in getattr(one, side).items():
            np.testing.assert_allclose(leaf, getattr(expected[0], side)[target], atol=2e-5, err_msg=f"{side} {target}")
    assert np.abs(one.b["v_proj"]).max() > 1e-3, "it was trained"
    for name, values in own.values.items():
        np.testing.assert_allclose(history.values[name][:, i], values[:, 0], rtol=1e-3, atol=1e-6, err_msg=name)


def test_what_fills_up_a_smaller_rank_is_zero_to_the_last_update(mistral):
    made = prepare(mistral, PAIRS, FAST, members=MEMBERS)
    static, data = make_data(mistral, made.static, made.inputs)
    varied = make_varied(made.members, made.forms, static)
    start = init_state(static, varied)
    state = train(static, mistral.params, data, varied, jax.tree.map(jnp.copy, start), jnp.asarray(static.updates))
    for at, moved in ((start, False), (state, True)):
        for i, form in enumerate(made.forms):
            for target in form.targets:
                a, b = (np.asarray(side[target][i]) for side in (at.members.lora.a, at.members.lora.b))
                assert a.shape[-1] == b.shape[-2] == 4
                assert not a[..., form.rank :].any() and not b[:, form.rank :].any()
                assert a[..., : form.rank].all() and b[:, : form.rank].any() == moved, "the rest is what is trained"


def test_adapters_of_several_ranks_are_measured_together_and_written_as_their_own(base, together, tmp_path):
    stack, _ = together
    rows = soo.latent_overlap(base, PAIRS, adapters=stack, sites=("attn_out",))
    for i, own in enumerate(OWN):
        told = {name: own[name] for name in ("seed", "learning_rate", "rank", "alpha", "rslora")}
        mine = [row["mse"] for row in rows if {name: row[name] for name in told} == told]
        single = soo.latent_overlap(base, PAIRS, adapters=stack[i], sites=("attn_out",))
        np.testing.assert_allclose(mine, [row["mse"] for row in single], rtol=1e-3)
    folders = soo.save_adapters(tmp_path / "run" / "adapters", base, stack)
    assert folders[1].name == "seed-3-lr-0.002-rank-4-alpha-6-rslora-False"
    for folder, own in zip(folders, OWN, strict=True):
        fields = json.loads((folder / "adapter_config.json").read_text())
        assert (fields["r"], fields["lora_alpha"], fields["use_rslora"]) == (own["rank"], own["alpha"], own["rslora"])
    loaded = soo.load_adapters(base, [tmp_path / "run"])
    for member, one in zip(loaded.members, loaded, strict=True):
        i = stack.members.index(member)
        assert one.config == stack[i].config
        np.testing.assert_allclose(one.b["v_proj"], stack[i].b["v_proj"], rtol=1e-6)
        np.testing.assert_array_equal(one.a["v_proj"], stack[i].a["v_proj"])


def test_a_run_of_one_form_is_neither_widened_nor_scaled(mistral):
    stack, _ = soo.finetune(mistral, PAIRS, replace(FAST, epochs=1))
    assert stack.lora.config == FAST.lora and stack.forms == (FAST.lora,)
    np.testing.assert_array_equal(stack[0].b["q_proj"], stack.lora.b["q_proj"][0])


def test_a_run_of_several_ranks_goes_on_where_it_was_and_no_other_takes_its_place(mistral, tmp_path):
    config, steps = replace(FAST, epochs=7, checkpoint_every=10), []
    tell = lambda step, *_: steps.append(step)
    kept = lambda members, resume: soo.finetune(
        mistral, PAIRS, config, members=members, checkpoints=tmp_path, resume=resume, progress=tell
    )[0]
    first, again = kept(MEMBERS[:2], False), kept(MEMBERS[:2], True)
    assert steps == [10, 14, 14], "it went on behind the tenth update"
    jax.tree.map(np.testing.assert_array_equal, first.lora, again.lora)
    with pytest.raises(SooError, match=r"made with other settings .*members"):
        kept([MEMBERS[0], MEMBERS[1].but(alpha=7.0)], True)
