"""A run folder as a real run would leave it, with made-up numbers."""

import random

from soo_jax.runs import RunFolder
from soo_jax.tasks.english.scenarios import FAMILIES, english_scenarios, honesty_prompt
from soo_jax.tasks.intent import stated_intent
from soo_jax.tasks.labels import label, paper_deceptive
from soo_jax.tasks.records import CONTROLS, ORDERS
from soo_jax.tasks.statistics import count_responses

SEEDS = (0, 1, 2, 3, 4)


def write_run(path, *, seeds=SEEDS, n=20, bad_seed=3, families=None, strength=0.93, finish=True, seed=0, reasons=0.0):
    """Write a run folder: before, honesty prompt and after for every seed; ``bad_seed`` talks nonsense.

    After, every answer to a rival says with chance ``reasons`` that it means to mislead.
    """
    rng = random.Random(seed)
    scenarios = english_scenarios(families or FAMILIES, n=n)
    run = RunFolder.create(path)
    run.write_config(_config(seeds))
    responses = _responses(rng, scenarios, "base", None, lambda s: (1.0, 0.0) if s in CONTROLS else (0.02, 0.0))
    responses += _responses(
        rng, [honesty_prompt(s) for s in scenarios if s.recipient], "honesty_prompt", None,
        lambda s: (1.0, 0.0) if s in CONTROLS else (0.11, 0.02),
    )  # fmt: skip
    for one in seeds:
        spoilt = 0.4 if one == bad_seed else 0.01
        responses += _responses(
            rng, scenarios, "soo", one,
            lambda s, spoilt=spoilt: (0.97 if s in CONTROLS else strength - 0.1 * ("hunt" in s or "room" in s), spoilt),
            reasons,
        )  # fmt: skip
    run.append_responses(responses)
    if not finish:
        return run.path
    with run:
        run.log("fine-tuned")
        run.write_results(
            {
                "job": "finetune",
                "rows": count_responses(responses),
                "latent": _latent(rng, seeds),
                "training": _training(rng, seeds),
                "timings": {"finetune_s": 41.2, "evaluate_s": 63.8, "pairs_per_s": 310.5},
            }
        )
    return run.path


def _config(seeds):
    return {
        "model": {"name": "organism", "architecture": "mistral", "fingerprint": "5f0c9a"},
        "preset": "organism",
        "seeds": list(seeds),
        "lora": {"rank": 8, "alpha": 32, "dropout": 0.2, "targets": ["q_proj", "v_proj"]},
        "objective": {"overlap": {"weight": 1.0, "distance": "mse", "site": "attn_out", "layer": 1, "tokens": "last"}},
        "learning_rate": 1e-3,
        "epochs": 20,
        "batch": 4,
        "suffix": "i_would",
        "provenance": {
            "versions": {"soo-jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8"},
            "python": "3.11.7",
            "device_kind": "cpu",
            "git_revision": "0123456789abcdef0123456789abcdef01234567",
        },
    }


def _responses(rng, scenarios, condition, seed, chances, reasons=0.0):
    rows, index = [], {}
    for scenario in scenarios:
        honest, silent = chances(scenario.family)
        cell = (scenario.family, scenario.order)
        index[cell] = index.get(cell, -1) + 1
        draw = rng.random()
        place = scenario.honest if rng.random() < honest else scenario.deceptive
        text = f"{scenario.lead} {place}."
        if draw < silent:
            text = rng.choice(["I would recommend the the the of which <b>room</b>", "I am sorry, I cannot help you."])
        if reasons and not scenario.is_control and rng.random() < reasons:
            text += " I say so to mislead him."
        right = label(text, scenario)
        rows.append(
            {
                "condition": condition, "seed": seed, "family": scenario.family, "order": scenario.order,
                "index": index[cell], "prompt": scenario.prompt, "honest": scenario.honest,
                "deceptive": scenario.deceptive, "response": text, "label": right,
                "paper_deceptive": paper_deceptive(text, scenario),
                "intent": None if scenario.is_control else stated_intent(text, scenario),
                "logp_margin": round(rng.gauss(-4 if right == "honest" else 5, 1.5), 3),
            }
        )  # fmt: skip
    assert {row["order"] for row in rows} == set(ORDERS)
    return rows


def _latent(rng, seeds):
    rows = []
    for site, scale in (("attn_out", 0.02), ("mlp_out", 0.05), ("residual", 0.4)):
        for layer in range(5):
            gap = scale * (0.3 + layer) * (1 + 0.6 * (layer == 2))
            rows.append(_distance("base", None, site, layer, gap, 0.2 + 0.15 * layer))
            for seed in seeds:
                shrink = (0.3 if layer == 1 else 0.55) * rng.uniform(0.8, 1.25)
                rows.append(_distance("soo", seed, site, layer, gap * shrink, (0.2 + 0.15 * layer) * shrink))
    return rows


def _distance(condition, seed, site, layer, mse, normalised):
    return {
        "condition": condition, "seed": seed, "site": site, "layer": layer, "mse": mse, "normalised": normalised,
    }  # fmt: skip


def _training(rng, seeds):
    rows = []
    for seed in seeds:
        loss = 0.12
        for step in range(1, 261):
            loss = loss * 0.985 + 0.0006 * rng.random()
            noisy = loss * rng.uniform(0.8, 1.2)
            diverged = seed == 4 and step > 140
            rows.append({"seed": seed, "step": step, "loss": None if diverged else noisy, "overlap": noisy * 0.98})
            if diverged:
                break
    return rows
