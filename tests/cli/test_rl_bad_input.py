"""What ``soo rl`` cannot do is said in one line that names the setting, before anything is written."""

import json

import pytest

from soo_jax.errors import SooError
from soo_jax.rl.config import MaddpgConfig, PpoConfig, changed

TRAIN = ("rl", "train")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("hidden=[0]", "hidden must name widths of at least 1"),
        ("hidden=[]", "hidden must name widths of at least 1"),
        ('learns=["green"]', "the game has no agent 'green'; it has red, blue"),
        ("learns=[]", "learns names no agent"),
        ("policy_rate=NaN", "policy_rate must be a finite number"),
        ("gamma=1.5", "gamma must be a finite number between 0 and 1, found 1.5"),
        ("follower.iterations=0", "iterations must be at least 1"),
        ("follower.colour=1", "setting 'colour' is unknown"),
        ("clip=0", "clip must be a finite number"),
        ("soo_weight=1", "soo_weight has no effect without an objective"),
    ],
)
def test_a_setting_of_the_learner_that_cannot_be_is_refused(refused, setting, said):
    assert said in refused(*TRAIN, "--set", setting)


@pytest.mark.parametrize("kind", [PpoConfig, MaddpgConfig])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_no_number_of_a_config_may_be_other_than_finite(kind, wrong):
    names = [name for name, value in vars(kind()).items() if type(value) is float]
    assert len(names) > 8
    for name in names:
        with pytest.raises(SooError, match=f"{name} must be a finite number"):
            changed(kind(), {name: wrong})
    assert {*kind.limits, *kind.counts} <= {*vars(kind())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run to evaluate."""
    from soo_jax.cli import run

    out = tmp_path_factory.mktemp("rl") / "run"
    small = ["--set", "iterations=2", "--set", "environments=8", "--set", "minibatches=2", "--set", "hidden=[4]"]
    small += ["--set", "follower.iterations=3"]
    assert run(["rl", "train", "--seed", "0", "--episodes", "4", *small, "--out", str(out), "--quiet"]) == 0
    told = json.loads((out / "config.json").read_text())["recipe"]
    assert (told["follower"]["iterations"], told["follower"]["hidden"], told["baseline"]["iterations"]) == (3, [4], 2)
    return out


@pytest.mark.slow
def test_worlds_and_episodes_that_cannot_be_are_refused(refused, trained, capsys):
    from soo_jax.cli import run

    for world, said in (
        ("sight=NaN", "sight is nan; it must be a finite number"),
        ("sight=-1", "sight is -1"),
        ("dt=0", "dt is 0; it must be a finite number above 0"),
        ("max_steps_in_episode=10", "max_steps_in_episode' of the world has no effect here"),
        ("wall_softness=0.5", "make a wall felt across the room"),
    ):
        assert said in refused("rl", "evaluate", trained, "--world", world)
    assert run(["rl", "render", str(trained), "--episode", "99999999"]) == 2
    assert "only the first 1000 episodes are drawn from" in capsys.readouterr().err


@pytest.mark.slow
def test_several_runs_of_one_preset_are_measured_together_under_names_of_their_own(trained, tmp_path):
    import shutil

    from soo_jax.cli import run

    others = [shutil.copytree(trained, tmp_path / name) for name in ("second", "third")]
    out = tmp_path / "out"
    command = ["rl", "evaluate", *map(str, [trained, *others]), "--episodes", "4", "--out", str(out), "--quiet"]
    assert run(command) == 0
    conditions = {row["condition"] for row in json.loads((out / "results.json").read_text())["rows"]}
    assert {"deceptive", "trusting-red:deceptive", "trusting-red:deceptive (third)"} <= conditions


def test_options_come_from_a_file_unless_they_are_given_and_unknown_ones_are_refused(refused, tmp_path):
    path = tmp_path / "options.toml"
    path.write_text("reds = 0\nseed = [0, 1]\n")
    assert "reds must be at least 1, found 0" in refused("rl", "reproduce", "--config", path)
    assert "reds must be at least 1, found -2" in refused("rl", "reproduce", "--config", path, "--reds", -2)
    path.write_text("seeds = 3\n")
    assert "option 'seeds' is unknown; choose from" in refused("rl", "reproduce", "--config", path)
    path.write_text("scenes = 0\n")
    assert "scenes must be at least 1" in refused("layers", "organism", "--config", path)
    assert "nowhere.toml: no such file" in refused("layers", "organism", "--config", tmp_path / "nowhere.toml")
