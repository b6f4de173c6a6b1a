"""A folder as `soo rl reproduce` would leave it, with made-up numbers."""

import numpy as np
from safetensors.numpy import save

from soo_jax.runs import RunFolder, finite_row

REDS, SEEDS = range(4), range(8)

# condition: trapped, red at goal, blue at goal, deceptive rate, log SOO, relative SOO, red decoded
MADE_UP = {
    "deceptive": (0.81, 0.12, 0.55, 0.21, -3.1, 0.42, 0.83),
    "honest": (0.09, 0.68, 0.88, 0.02, -4.6, 0.12, 0.41),
    "escort": (0.11, 0.55, 0.71, 0.03, -2.9, 0.47, 0.88),
    "avoid": (0.06, 0.31, 0.73, 0.03, -3.0, 0.44, 0.86),
    "soo": (0.16, 0.61, 0.84, 0.04, -7.9, 0.01, 0.28),
    "control:more_rl": (0.82, 0.11, 0.56, 0.22, -3.0, 0.43, 0.84),
    "control:hidden": (0.14, 0.63, 0.84, 0.05, -3.1, 0.42, 0.02),
    "control:stop_self": (0.21, 0.57, 0.82, 0.05, -7.1, 0.02, 0.33),
    "control:stop_other": (0.19, 0.58, 0.83, 0.05, -7.2, 0.02, 0.31),
    "control:random_pairs": (0.44, 0.37, 0.62, 0.10, -5.9, 0.08, 0.44),
    "control:soo_alone": (0.15, 0.52, 0.61, 0.05, -8.6, 0.006, 0.21),
    "control:random_direction": (0.76, 0.15, 0.51, 0.19, -3.1, 0.41, 0.81),
    "soo_on_honest": (0.08, 0.67, 0.88, 0.02, -8.1, 0.01, 0.22),
    "soo_on_escort": (0.10, 0.36, 0.80, 0.03, -7.7, 0.01, 0.27),
    "soo_on_avoid": (0.09, 0.44, 0.79, 0.03, -7.8, 0.01, 0.26),
    "deceptive@wide_sight": (0.84, 0.10, 0.54, 0.23, -3.0, 0.44, 0.84),
    "soo@wide_sight": (0.22, 0.56, 0.82, 0.06, -7.5, 0.02, 0.30),
    "relapse:soo": (0.71, 0.17, 0.58, 0.18, -5.2, 0.11, 0.63),
    "relapse:honest": (0.66, 0.19, 0.60, 0.16, -4.0, 0.24, 0.60),
}
METRICS = ("trapped", "red_ever_at_goal", "blue_at_goal", "deceptive_rate", "soo_log", "soo_relative", "red_decoded")


def write_rl_run(path, *, conditions=tuple(MADE_UP), reds=REDS, seeds=SEEDS, job="rl-reproduce", arrays=True, seed=0):
    """Write a run folder. Of the deceptive agents, red 0 and seed 3 never learned to deceive."""
    rng = np.random.default_rng(seed)
    run = RunFolder.create(path)
    run.write_config(_config(job, reds, seeds))
    with run:
        rows = [row for name in conditions for row in _agent_rows(rng, name, reds, seeds)]
        training = [row for name in conditions if "@" not in name for row in _training(rng, name, reds, seeds)]
        both = {"deceptive", "honest"} <= set(conditions)
        results = {"job": job, "rows": rows + (_detection(rng) if both else []), "training": training}
        run.write_results(results | {"timings": {"baselines_s": 212.4, "finetune_s": 98.1}})
        if arrays:
            run.write_bytes("surfaces.safetensors", save({name: _surface(name) for name in conditions}))
            run.write_bytes("geometry.safetensors", save(_geometry(rng, conditions)))
    return run.path


def _config(job, reds, seeds):
    return {
        "job": job,
        "preset": "trusting-red",
        "environment": "physical_deception",
        "reds": len(reds),
        "seeds": list(seeds),
        "finetune": {"iterations": 30, "soo_weight": 1.0},
        "provenance": {"versions": {"soo-jax": "0.1.0", "jax": "0.10.2"}, "device_kind": "cpu"},
    }


def _agent_rows(rng, condition, reds, seeds):
    rows = []
    for red in reds:
        easy = 0.06 * (red - 1.5)
        for seed in seeds:
            dull = condition == "deceptive" and (red, seed) == (0, 3)
            base = np.asarray(MADE_UP["honest" if dull else condition])
            noise = np.asarray([0.06, 0.06, 0.04, 0.015, 0.3, 0.03 * base[5], 0.05]) * rng.standard_normal(7)
            found = base + noise + np.asarray([easy, -easy, 0, easy / 5, 0, 0, 0])
            found[:4] = np.clip(found[:4], 0.0, 1.0)
            found[3] = 0.0 if dull else found[3]
            values = dict(zip(METRICS, found.tolist(), strict=True))
            values |= {"deceptive_rate_untrapped": 0.8 * values["deceptive_rate"], "activation_variance": 0.31}
            values |= {"soo_log_untrapped": values["soo_log"] - 0.2, "soo_relative_untrapped": values["soo_relative"]}
            values |= {"soo_action": 0.1 * values["soo_relative"], "steps_in_sight": 21 - 12 * values["trapped"]}
            values |= {"task_return": 250 * values["blue_at_goal"], "return_blue": 300 * values["trapped"] + 100}
            values |= _differences(condition, values)
            who = {"condition": condition, "red": red, "seed": seed}
            rows += [finite_row({**who, "metric": name, "value": value}) for name, value in values.items()]
    return rows


def _differences(condition, values):
    found = {}
    for anchor in ("deceptive", "honest"):
        if anchor != condition:
            gap = (values["deceptive_rate"] - MADE_UP[anchor][3]) ** 2
            found |= {f"difference_to_{anchor}": gap / 3, f"reference_difference_to_{anchor}": 9e4 * gap}
    return found


def _training(rng, condition, reds, seeds):
    rows = []
    for red in reds:
        for seed in seeds:
            for step in range(1, 31):
                level = 100 + 300 * MADE_UP[condition][0] * (1 - np.exp(-step / 8))
                row = {"condition": condition, "red": red, "seed": seed, "step": step}
                row |= {"reward_blue": level + 12 * rng.standard_normal(), "reward_red": 60 + 5 * rng.standard_normal()}
                row |= {"policy_loss_blue": -0.02 * rng.random(), "critic_loss_blue": 4 / step + rng.random()}
                tuned = condition.startswith(("soo", "control"))
                row["soo_loss"] = 0.05 * np.exp(-step / 6) * rng.uniform(0.7, 1.3) if tuned else 0.0
                rows.append(finite_row(row))
    return rows


def _detection(rng):
    rows = []
    for steps, gap in (("all", 0.9), ("untrapped", 0.55)):
        for count in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
            skill = 1 - 0.5 * np.exp(-gap * np.sqrt(count) / 2)
            values = {"auroc": skill, "accuracy": 0.9 * skill + 0.02 * rng.random(), "flagged_paper": 0.3 + 0.4 * skill}
            who = {"condition": "detection", "steps": steps, "episodes": count}
            rows += [{**who, "metric": name, "value": float(value)} for name, value in values.items()]
    return rows


def _surface(condition):
    towards, apart = np.meshgrid(np.linspace(0, 1, 100), np.linspace(-1, 1, 100), indexing="ij")
    return (MADE_UP[condition][3] * 1.6 * (1 - towards**2) * ((1 + apart) / 2) ** 1.5).astype(np.float32)


def _geometry(rng, conditions):
    found = {}
    for name in conditions:
        apart = 2.5 * MADE_UP[name][5]
        selves = rng.standard_normal((200, 2)) * [1.0, 0.6]
        found[f"{name}.self"] = selves.astype(np.float32)
        found[f"{name}.other"] = (selves * 0.9 + [apart * 2, apart]).astype(np.float32)
    return found
