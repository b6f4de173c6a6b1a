"""Speed of fine-tuning and evaluation against torch + peft and transformers.generate, alternating in one run.

    python -m scripts.bench_llm --out docs/bench_llm.json                    # a random Mistral
    python -m scripts.bench_llm --model smollm2 --out docs/bench_smollm2.json
    python -m scripts.bench_llm --model qwen05 --out docs/bench_qwen05.json

Prints a table and writes JSON: seconds (median of rounds), rates, ratios, peak memory of each contender in a process
of its own, versions and machine. Random: 4 layers, width 512, vocabulary 32,000, texts as long as real ones.
Real models are fetched (``scripts/fetch_models.py``); they are asked the built-in scenarios as chat messages and
fine-tuned on the built-in pairs, in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench_contenders import (
    CONTENDERS,
    PROMPTS,
    RANDOM,
    REAL,
    Contender,
    Work,
    file_work,
    random_work,
    real_work,
)

TASKS = ("finetune", "evaluate", "load", "stack")
BOTH = (
    ("fine-tuning, one seed, against torch + peft as the original", "ours_1_seed", "torch_original", 12.0),
    ("fine-tuning, one seed, against torch + peft done well", "ours_1_seed", "torch_best", 1.2),
)
RATIOS = {
    False: (
        *BOTH,
        ("fine-tuning, five seeds, against torch + peft done well", "ours_5_seeds", "torch_best", 2.0),
        ("evaluation against transformers one by one", "ours_batched", "transformers_one_by_one", 10.0),
        ("evaluation against transformers batched", "ours_batched", "transformers_batched", 1.5),
    ),
    True: (
        *BOTH,
        ("fine-tuning, five seeds, against torch + peft done well", "ours_5_seeds", "torch_best", 1.6),
        ("evaluation against transformers one by one", "ours_batched", "transformers_one_by_one", 5.0),
        ("evaluation against transformers batched", "ours_batched", "transformers_batched", 1.5),
        ("evaluation with margins against without", "ours_with_margins", "ours_batched", 1 / 1.3),
        ("five stacked adapters against five in a row", "ours_5_stacked", "ours_1_stacked", 1.0),
    ),
}


def measure(work: Work, contenders: dict[str, Contender], rounds: int) -> dict[str, Any]:
    """Times all contenders in turn, round by round, after one untimed run of each (compilation, allocators)."""
    runs, first, said = {}, {}, {}
    for name, contender in contenders.items():
        runs[name] = contender.make(work)
        start = time.perf_counter()
        said[name] = runs[name]()
        first[name] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "task": contender.task,
            "seconds": statistics.median(seconds[name]),
            "seconds_all": seconds[name],
            "first_run_seconds": first[name],
            "per_second": contender.units(work) / statistics.median(seconds[name]),
            **({} if said[name] is None else {"answer_tokens": said[name]}),
        }
        for name, contender in contenders.items()
    }


def ceiling() -> float:
    """What this machine reaches in large float32 products, 2048 x 2048, in GFLOP/s."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((2048, 2048))
    many = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: (y @ x) * 1e-4, x))
    many(x).block_until_ready()
    start = time.perf_counter()
    many(x).block_until_ready()
    return 20 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9


def peak_memory(model: str, name: str) -> float:
    """Peak resident memory (MiB) of a process that does one run of one contender and nothing else."""
    command = [sys.executable, "-m", "scripts.bench_llm", "--alone", name, "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def own_peak_mib() -> float:
    """Peak resident memory of this process; getrusage would count the parent's too, from before the exec."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """Versions and hardware that the figures belong to."""
    from importlib.metadata import version

    import jax

    packages = ("soo-jax", "jax", "flax", "optax", "torch", "transformers", "peft")
    return {
        "versions": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "device": jax.devices()[0].device_kind,
        "date": time.strftime("%Y-%m-%d"),
    }


def main(arguments: list[str]) -> int:
    """Measures, prints and writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=(RANDOM, *REAL), default=RANDOM)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--task", choices=TASKS, help="only this one; stack only if asked for")
    parser.add_argument("--only", help="contenders by name, with commas")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="asked of a real model, out of all scenarios")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory runs")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    real = options.model != RANDOM
    contenders = CONTENDERS[real]
    if options.only is not None:
        names = options.only.split(",")
        if wrong := [name for name in names if name not in contenders]:
            parser.error(f"--only {wrong[0]}: is no contender; choose among {', '.join(contenders)}")
        contenders = {name: contenders[name] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        if options.alone and contenders[options.alone].task == "load":  # with nothing else in this process
            work = file_work(options.model)
        else:
            work = real_work(folder, options.model, options.prompts) if real else random_work(folder)
        if options.alone:
            contenders[options.alone].make(work)()
            print(own_peak_mib())
            return 0
        results: dict[str, Any] = {}
        most = ceiling()
        for task in dict.fromkeys(contender.task for contender in contenders.values()):
            if options.task == task or (options.task is None and task != "stack"):
                own = {name: contender for name, contender in contenders.items() if contender.task == task}
                results |= measure(work, own, options.rounds)
        tokens = next((row["answer_tokens"] for row in results.values() if "answer_tokens" in row), work.new_tokens)
        for name, row in results.items():
            if (products := contenders[name].products) is not None:
                row["gflops"] = row["per_second"] * products(work, tokens) / 1e9
                row["share_of_large_products"] = row["gflops"] / most
    if not options.no_memory:
        for name in results:
            results[name]["peak_mib"] = peak_memory(options.model, name)
    ratios = [
        {"what": what, "ratio": results[ours]["per_second"] / results[peer]["per_second"], "goal": goal}
        for what, ours, peer, goal in RATIOS[real]
        if ours in results and peer in results
    ]
    show(results, ratios)
    if options.out:
        told = {"model": options.model, "prompts": len(work.prompts), "gflops": most, "machine": machine()}
        report = {"results": results, "ratios": ratios, **told}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def show(results: dict[str, Any], ratios: list[dict[str, Any]]) -> None:
    """Prints the figures as a Markdown table."""
    units = {"finetune": "pairs", "evaluate": "prompts", "load": "models", "stack": "pairs"}
    print("| contender | per second | seconds | first run | of large products | peak MiB |\n|---|---|---|---|---|---|")
    for name, row in results.items():
        memory = f"{row['peak_mib']:.0f}" if "peak_mib" in row else ""
        share = f"{row['share_of_large_products']:.0%}" if "share_of_large_products" in row else ""
        times = f"{row['seconds']:.2f} | {row['first_run_seconds']:.2f} | {share}"
        print(f"| {name} | {row['per_second']:.1f} {units[row['task']]} | {times} | {memory} |")
    print("\n| ours against the peer | ratio | goal |\n|---|---|---|")
    for row in ratios:
        print(f"| {row['what']} | {row['ratio']:.2f} | {row['goal']:.2f} |")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
