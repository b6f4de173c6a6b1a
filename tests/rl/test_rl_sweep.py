"""Sweeps of agents: every combination once, each as it would be trained alone, told apart in every row."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from soo_jax.cli import run
from soo_jax.errors import SooError
from soo_jax.report.rl.sweep import combinations
from soo_jax.report.rl.words import condition_title, group
from soo_jax.rl import AgentName, PpoConfig, soo_objective
from soo_jax.rl.experiment import finetune, train_baselines
from soo_jax.rl.presets import Recipe
from soo_jax.rl.sweep import Cell, baselines, grid, treated
from soo_jax.runs import read_run

TINY = PpoConfig(iterations=2, environments=4, steps=10, hidden=(8,), learns=("blue", "red"), epochs=1, minibatches=2)
RECIPE = Recipe(
    "tiny", "physical_deception", None, TINY, TINY.replace(objective=soo_objective(), soo_weight=1.0), {"sight": 0.8}
)


def test_a_grid_is_every_combination_under_the_names_of_its_parts(world):
    cells = grid(world, RECIPE, {"world.sight": (0.25, 0.5), "finetune.soo_weight": (0.0, 10.0)})
    assert [cell.called("soo") for cell in cells] == [
        "soo (sight 0.25, soo_weight 0)",
        "soo (sight 0.25, soo_weight 10)",
        "soo (sight 0.5, soo_weight 0)",
        "soo (sight 0.5, soo_weight 10)",
    ]
    assert cells[0].without_finetuning() == cells[1].without_finetuning() == Cell((("world.sight", 0.25),))
    assert cells[3].row == {"sight": 0.5, "soo_weight": 10.0} and cells[3].of("world") == {"sight": 0.5}
    both = Cell((("baseline.gamma", 0.9), ("finetune.gamma", 0.8)))
    assert both.row == {"baseline.gamma": 0.9, "finetune.gamma": 0.8}


@pytest.mark.parametrize(
    "vary, words",
    [
        ({}, "nothing is varied"),
        ({"sight": (1.0,)}, "choose world.NAME, baseline.NAME, finetune.NAME"),
        ({"world.sigth": (1.0,)}, "world.sigth is no number that can be varied; choose"),
        ({"baseline.iterations": (1.0,)}, "baseline.iterations is no number that can be varied"),
        ({"baseline.gamma": (0.5, 0.5)}, "needs different numbers"),
        ({"baseline.gamma": (2.0,)}, "gamma must be a finite number between 0 and 1"),
        ({"world.sight": (-1.0,)}, "sight"),
    ],
)
def test_what_cannot_be_varied_is_refused_by_name(world, vary, words):
    with pytest.raises(SooError, match=words.replace(".", r"\.")):
        grid(world, RECIPE, vary)


def same(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), one, other)


def test_every_agent_of_a_sweep_is_the_one_that_would_be_trained_alone(world):
    vary = {"world.sight": (0.3, 0.6), "baseline.gamma": (0.9, 0.95), "finetune.policy_rate": (1e-4, 1e-2)}
    cells = grid(world, RECIPE, vary)
    begun = list(dict.fromkeys(cell.without_finetuning() for cell in cells))
    trained, _ = baselines(world, RECIPE, begun, ["deceptive"], [0, 1], 1)
    tuned, _ = treated(world, RECIPE, cells, trained)
    assert len(trained) == 4 * 2 and len(tuned) == 8 * 2
    names = [AgentName("deceptive", 0, 1)]
    alone = replace(
        RECIPE,
        world={"sight": 0.6},
        baseline=TINY.replace(gamma=0.9),
        finetune=RECIPE.finetune.replace(policy_rate=1e-2),
    )
    before, _ = train_baselines(world, alone, names)
    after, _ = finetune(world, alone.finetune, before, ["soo"])
    pick = lambda agents, name: agents.where(lambda own: own == AgentName(name, 0, 1))
    same(pick(trained, "deceptive (sight 0.6, gamma 0.9)").policies, before.policies)
    same(pick(tuned, "soo (sight 0.6, gamma 0.9, policy_rate 0.01)").policies, after.policies)
    other = pick(tuned, "soo (sight 0.6, gamma 0.9, policy_rate 0.0001)").policies["blue"].params
    gaps = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), other, after.policies["blue"].params)
    assert max(jax.tree.leaves(gaps)) > 1e-4, "another rate must make another agent"


TYPED = [
    *("--vary", "world.sight=0.3,0.6", "--vary", "finetune.soo_weight=0,10", "--seed", "0,1", "--episodes", "4"),
    "--quiet",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep typed on the command line, cut short."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    small = [f"--set={name}" for name in ("iterations=2", "environments=4", "steps=10", "minibatches=2", "hidden=[8]")]
    small += ["--set=follower.iterations=2", "--set=follower.environments=4", "--set=follower.steps=10"]
    small += ["--set=follower.minibatches=2"]
    command = ["rl", "sweep", "--out", str(out), *TYPED, *small, "--stack", "4"]
    assert run(command) == 0
    return out, command


def test_the_program_sweeps_and_every_row_says_what_varied(swept):
    out, _ = swept
    found = read_run(out)
    after = [row for row in found.rows if row["condition"].startswith("soo (")]
    told = {(row["sight"], row["soo_weight"], row["seed"]) for row in after}
    assert told == {(sight, weight, seed) for sight in (0.3, 0.6) for weight in (0.0, 10.0) for seed in (0, 1)}
    assert all("soo_weight" not in row for row in found.rows if row["condition"].startswith("deceptive ("))
    several = combinations(found)
    assert len(several) == 4 and all(one.before and one.after["trapped"].n == 2 for one in several)
    assert several[1].values == {"sight": 0.3, "soo_weight": 10.0}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert (out / "sweep.png").is_file() and page.count(">What varied</h3>") == 1
    assert page.index(">What varied</h3>") < page.index("What agents do") and "The agents:" not in page
    assert {path.name for path in out.glob("finetuned-*.safetensors")} == {
        "finetuned-0.safetensors",
        "finetuned-1.safetensors",
    }, "eight agents in programs of four"


def test_what_is_trained_is_not_trained_again(swept, capsys):
    out, command = swept
    results = (out / "results.json").read_bytes()
    (out / "results.json").unlink()
    status = (out / "status.json").read_text().replace('"complete"', '"interrupted"')
    (out / "status.json").write_text(status)
    ages = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors") if "surfaces" not in path.name}
    assert run([*command, "--resume"]) == 0
    assert all(path.stat().st_mtime_ns == age for path, age in ages.items())
    rows = lambda content: content[content.index(b'"rows"') : content.index(b'"timings"')]
    assert rows((out / "results.json").read_bytes()) == rows(results)


def test_conditions_of_a_sweep_are_named_and_grouped_as_what_they_are():
    assert condition_title("soo (sight 0.3)") == f"{condition_title('soo')} (sight 0.3)"
    assert (group("soo (sight 0.3)"), group("deceptive (sight 0.3)")) == ("treated", "baselines")
    assert group("paper:deceptive (folder)") == "further"


@pytest.mark.parametrize(
    "changes, words",
    [
        (["--vary", "world.sight"], "write NAME=1,2,3"),
        (["--vary", "world.sight=a"], "write numbers with commas"),
        (["--vary", "world.sight=1", "--condition", "honest"], "leave deceptive among the conditions"),
        (["--vary", "world.sight=1", "--stack", "0"], "--stack must be at least 1"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_one_line_and_writes_nothing(tmp_path, capsys, changes, words):
    assert run(["rl", "sweep", "--out", str(tmp_path / "out"), "--quiet", *changes]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
