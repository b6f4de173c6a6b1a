"""The second game through the whole chain of ``soo rl``, told in its own words; and runs' settings given again."""

import json
import re

import pytest

from soo_jax.cli import run
from soo_jax.runs import read_run
from tests.report.test_page import _text

TINY = [f"--set={name}={value}" for name, value in {"iterations": 1, "environments": 2, "minibatches": 1}.items()]
FEW = ["--episodes", "4", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Deceptive and honest senders, hardly trained."""
    out = tmp_path_factory.mktemp("rl") / "senders"
    tiny = [*TINY, "--set=follower.iterations=1", "--set=follower.environments=2", "--set=follower.minibatches=1"]
    assert run(["rl", "train", "--game", "signalling", "--seed", "0,1", "--out", str(out), *FEW, *tiny]) == 0
    return out


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    """The deceptive ones, fine-tuned."""
    out = tmp_path_factory.mktemp("rl") / "tuned"
    assert run(["rl", "finetune", str(trained), "--out", str(out), *FEW, *TINY]) == 0
    return out


def test_senders_are_trained_fine_tuned_measured_and_drawn(trained, tuned, tmp_path, capsys):
    measured = tmp_path / "measured"
    assert run(["rl", "evaluate", str(trained), str(tuned), "--out", str(measured), *FEW]) == 0
    said = capsys.readouterr().out
    conditions = {row["condition"] for row in read_run(measured).rows}
    assert {"deceptive", "honest"} <= conditions and any("soo" in name for name in conditions)
    assert run(["rl", "render", str(trained)]) == 0
    assert (trained / "messages.png").read_bytes()[1:4] == b"PNG"
    page = _text((tuned / "report.html").read_text())
    for text in (page, _text((measured / "report.html").read_text()), said):
        assert not re.search(r"\b(red|blue)\b", text), "that is the other game"
    assert "clear lies" in page and "of the messages to the receiver" in page and "receiver, seed" in page


def test_the_config_of_a_run_of_agents_can_be_given_again(trained, tuned, tmp_path):
    again, more = tmp_path / "again", tmp_path / "more"
    options = ["--seed", "0", "--condition", "honest", *FEW]
    config = str(trained / "config.json")
    assert run(["rl", "train", "--game", "signalling", "--config", config, "--out", str(again), *options]) == 0
    first, second = (json.loads((path / "config.json").read_text())["recipe"] for path in (trained, again))
    assert first["baseline"] == second["baseline"] and first["follower"] == second["follower"]
    assert first["baseline"]["environments"] == 2
    command = ["rl", "finetune", str(trained), "--config", str(tuned / "config.json"), "--set", "soo_weight=3.0"]
    assert run([*command, "--out", str(more), *FEW]) == 0
    told = json.loads((more / "config.json").read_text())
    assert (told["recipe"]["finetune"]["environments"], told["recipe"]["finetune"]["soo_weight"]) == (2, 3.0)


RECIPE = """
from dataclasses import replace
import soo_jax as soo
from soo_jax.rl import hidden, preset

OWN = soo.weighted(calm=(1.0, soo.retain(soo.mse, at=hidden(), tokens=None)))
START = preset("signalling")
RECIPE = replace(START, finetune=START.finetune.replace(objective=OWN))


class Strange:
    reads = (("dream", hidden()),)

    def __call__(self, views):
        return 0.0


DREAMING = replace(START, finetune=START.finetune.replace(objective=soo.weighted(strange=(1.0, Strange()))))
"""


def test_a_recipes_own_objective_is_what_fine_tuning_minimises_unless_a_distance_is_named(trained, tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE)
    source = tmp_path / "source"
    source.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    told = json.loads((source / "config.json").read_text())
    told["preset"] = f"{tmp_path / 'mine.py'}:RECIPE"
    (source / "config.json").write_text(json.dumps(told))
    names = {}
    for name, options in (("own", []), ("named", ["--distance", "cosine"])):
        out = tmp_path / name
        assert run(["rl", "finetune", str(source), "--out", str(out), *FEW, *TINY, *options]) == 0
        names[name] = json.loads((out / "config.json").read_text())["recipe"]["finetune"]["objective"]["names"]
    assert names == {"own": ["calm"], "named": ["both", "other_to_self", "self_to_other"]}


def test_a_view_that_no_learner_serves_is_refused_before_anything_is_written(refused, tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE)
    assert "view 'dream': training of agents does not serve it" in refused(
        "rl", "train", "--preset", f"{tmp_path / 'mine.py'}:DREAMING", *TINY
    )
