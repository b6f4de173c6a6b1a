"""Speed on one accelerator at the shape of a 7B model: stacked fine-tuning and answers, wide and in nf4, beside torch.

    python -m scripts.bench_gpu --out docs/bench_gpu.json     # Mistral-7B's shape, random weights made on the device
    python -m scripts.bench_gpu --tiny                        # the same in small, for any machine

For each way of holding the base: seconds of an update of 1, 5 and 16 stacked adapters at layer 16, seconds of answering
250 prompts with 96 new tokens; tokens and products per second, their share of what large products reach on this device,
and the memory that is planned for it. The peer, torch + peft and ``transformers.generate``, has a model of the same
shape on the same device, in a process of its own, so that neither leaves memory to the other. Every run is timed
``--rounds`` times after one that is not, which compiles.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench_contenders import (
    EPOCHS,
    OTHER_TOKENS,
    PAIRS,
    PROMPT_TOKENS,
    SELF_TOKENS,
    Work,
    answering,
    torch_finetune,
    torch_generate,
    tuning,
)
from scripts.bench_llm import machine

STACKED, TWENTY_EPOCHS, ANSWERS = "stacked adapters against one, seconds", "52 pairs, 20 epochs, seconds", "answers"
GOALS = {STACKED: "at most 1.5", TWENTY_EPOCHS: "at most 30", ANSWERS: "at least 5"}
"""What is to be reached by five stacked adapters of a 7B model, and by answers against ``transformers`` batched."""


@dataclass(frozen=True)
class Size:
    """What is measured: the model's shape as of its ``config.json``, and how much work there is."""

    config: dict[str, Any]
    layer: int
    members: tuple[int, ...]
    prompts: int
    new_tokens: int
    batch: int
    product: int


MISTRAL = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32_768,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "sliding_window": None,
    "tie_word_embeddings": False,
}
SMALL = {
    **MISTRAL,
    **{"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256},
}
SIZES = {
    False: Size(MISTRAL, 16, (1, 5, 16), 250, 96, 250, 8192),
    True: Size(SMALL, 1, (1, 2), 4, 4, 4, 64),
}
"""The sizes, by whether it is the tiny one."""
DTYPES = ("bfloat16", "nf4")


def work_of(size: Size, folder: Path) -> Work:
    """Random texts, as long as real ones; the folder takes the model's config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(size.config), encoding="utf-8")
    rng = np.random.default_rng(0)
    text = lambda span: rng.integers(3, size.config["vocab_size"], rng.integers(*span, endpoint=True)).tolist()
    pairs = [text(SELF_TOKENS) for _ in range(PAIRS)], [text(OTHER_TOKENS) for _ in range(PAIRS)]
    prompts = [text(PROMPT_TOKENS) for _ in range(size.prompts)]
    return Work(folder, size.layer, pairs, prompts, size.new_tokens, (), size.prompts, size.batch)


def random_params(config: Any, dtype: str) -> Any:
    """Random weights made on the device, one array at a time, in bfloat16; with ``nf4`` each is then made small."""
    import jax
    import jax.numpy as jnp

    from soo_jax.models import weights
    from soo_jax.models.decoder import param_shapes
    from soo_jax.models.quantised import quantise

    shapes = param_shapes(config)
    draw = jax.jit(lambda key, shape: 0.02 * jax.random.normal(key, shape, jnp.bfloat16), static_argnums=1)
    keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(shapes))))
    make = lambda leaf: draw(next(keys), leaf.shape)
    if dtype == "nf4":
        held: dict[int, Any] = {}
        weights.map_kernels(shapes, lambda leaf: held.setdefault(id(leaf), quantise(make(leaf), "nf4")))
        return jax.tree.map(lambda leaf: held.get(id(leaf)) or make(leaf), shapes)
    return jax.tree.map(make, shapes)


def timed(run: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of a run after one that compiles."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[1:]), "first_run_seconds": seconds[0]}


def ours(size: Size, work: Work, dtype: str, rounds: int) -> dict[str, dict[str, Any]]:
    """What soo-jax does with one way of holding the base."""
    from soo_jax.llm import memory
    from soo_jax.llm.config import FinetuneConfig
    from soo_jax.models.architectures import read_config

    config = read_config(work.folder)
    params = random_params(config, dtype)
    mean = lambda rows: sum(map(len, rows)) / len(rows)
    texts = memory.Texts(max(map(len, work.pairs[1])), round(mean(work.prompts)), work.new_tokens)
    updates, found = EPOCHS * PAIRS // 4, {}
    for members in size.members:
        settings = FinetuneConfig(layer=work.layer, seeds=tuple(range(members)))
        costs = memory.finetuning(config, settings, dtype, PAIRS, texts)
        told = timed(tuning(config, params, work, members), rounds)
        tokens = members * updates * 4 * 2 * texts.pair
        found[f"{dtype}, fine-tuning, {members} stacked"] = told | {
            "update_seconds": told["seconds"] / updates,
            "tokens_per_second": tokens / told["seconds"],
            "flops_per_second": costs.flops * updates / told["seconds"],
            "planned_gib": costs.total / 2**30,
        }
    costs = memory.answering(config, None, dtype, 1, work.batch, texts)
    told = timed(answering(config, params, work), rounds)
    batches = -(-len(work.prompts) // work.batch)
    found[f"{dtype}, answers"] = told | {
        "tokens_per_second": len(work.prompts) * work.new_tokens / told["seconds"],
        "flops_per_second": batches * costs.flops / told["seconds"],
        "planned_gib": costs.total / 2**30,
    }
    return found


def ceilings(side: int) -> dict[str, float]:
    """What this device reaches: bfloat16 products of ``side`` in FLOP/s, and copies in bytes/s (read and written)."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((side, side), jnp.bfloat16)
    many = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: (y @ x) * jnp.bfloat16(1e-4), x))
    flops = 20 * 2 * side**3 / timed(lambda: many(x).block_until_ready(), 3)["seconds"]
    more = jax.jit(lambda x: x + jnp.bfloat16(1))
    copied = 2 * x.nbytes / timed(lambda: more(x).block_until_ready(), 10)["seconds"]
    return {"flops_per_second": flops, "bytes_per_second": copied}


def peer(work: Work, rounds: int) -> dict[str, dict[str, Any]]:
    """What torch does, in bfloat16 where there is a GPU: fine-tuning of one adapter done well, and answers batched."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)

    def load(work: Work) -> Any:
        torch.manual_seed(0)
        with torch.device(device):
            config = AutoConfig.from_pretrained(work.folder)
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")

    def whole(run: Callable[[], None]) -> Callable[[], None]:
        def done() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        return done

    updates, found = EPOCHS * PAIRS // 4, {}
    told = timed(whole(torch_finetune(work, True, load)), rounds)
    found["torch + peft, fine-tuning, 1"] = told | {"update_seconds": told["seconds"] / updates}
    gc.collect()
    sizes = tuple(dict.fromkeys((max(1, work.batch // 4), work.batch)))
    told = timed(whole(torch_generate(work, sizes, load)), rounds)
    found["transformers, answers"] = told | {"tokens_per_second": len(work.prompts) * work.new_tokens / told["seconds"]}
    return found


def figures(found: dict[str, dict[str, Any]], members: tuple[int, ...]) -> list[dict[str, Any]]:
    """The figures that have a goal, where what they need was measured; goals are those of the second of ``members``."""
    one, several = members[:2]
    rows = []
    for dtype in DTYPES:
        tell = lambda name, value, what, dtype=dtype: rows.append(
            {"what": f"{dtype}: {what}", "value": value, "goal": GOALS[name]}
        )
        few, many = (found.get(f"{dtype}, fine-tuning, {count} stacked") for count in (one, several))
        if few and many:
            tell(STACKED, many["seconds"] / few["seconds"], f"{several} {STACKED}")
            tell(TWENTY_EPOCHS, many["update_seconds"] * 20 * PAIRS / 4, f"{several} stacked adapters, {TWENTY_EPOCHS}")
        own, theirs = found.get(f"{dtype}, answers"), found.get("transformers, answers")
        if own and theirs:
            tell(ANSWERS, theirs["seconds"] / own["seconds"], "answers against transformers batched")
    return rows


def measure(name: str, size: Size, rounds: int) -> dict[str, dict[str, Any]]:
    """The figures of one contender: the peer, or a way of holding the base."""
    with tempfile.TemporaryDirectory() as temporary:
        work = work_of(size, Path(temporary) / "model")
        return peer(work, rounds) if name == "peer" else ours(size, work, name, rounds)


def main(arguments: list[str]) -> int:
    """Measures, prints and writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model and little work")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", default=",".join(DTYPES), help="how the base is held, e.g. bfloat16,nf4")
    parser.add_argument("--no-peer", action="store_true", help="leave torch out")
    parser.add_argument("--alone", choices=("peer", *DTYPES), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = SIZES[options.tiny]
    if options.alone:
        print(json.dumps(measure(options.alone, size, options.rounds)))
        return 0
    alone = [*options.dtypes.split(","), *([] if options.no_peer else ["peer"])]
    found: dict[str, dict[str, Any]] = {}
    for name in alone:
        found |= _in_a_process(name, options)
    limits = ceilings(size.product)
    for row in found.values():
        if "flops_per_second" in row:
            row["share_of_products"] = row["flops_per_second"] / limits["flops_per_second"]
    rows = figures(found, size.members)
    show(found, limits, rows)
    if options.out:
        report = {"results": found, "figures": rows, "ceilings": limits, "size": size.config, "machine": machine()}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one contender, measured in a process of its own, which has the device to itself."""
    command = [sys.executable, "-m", "scripts.bench_gpu", "--alone", name, "--rounds", str(options.rounds)]
    done = subprocess.run([*command, *(["--tiny"] if options.tiny else [])], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(found: dict[str, dict[str, Any]], limits: dict[str, float], rows: list[dict[str, Any]]) -> None:
    """Prints the figures as Markdown tables."""
    print("| what | seconds | first run | tokens/s | TFLOP/s | share of large products | planned GiB |")
    print("|---|---|---|---|---|---|---|")
    number = lambda row, key, scale=1.0, digits=1: f"{row[key] / scale:.{digits}f}" if key in row else ""
    for name, row in found.items():
        cells = [number(row, key, digits=2) for key in ("seconds", "first_run_seconds")]
        cells += [number(row, "tokens_per_second", digits=0), number(row, "flops_per_second", 1e12)]
        cells += [number(row, "share_of_products", digits=2), number(row, "planned_gib", digits=2)]
        print(f"| {name} | {' | '.join(cells)} |")
    print(
        f"\nlarge products: {limits['flops_per_second'] / 1e12:.1f} TFLOP/s; "
        f"copies: {limits['bytes_per_second'] / 1e9:.0f} GB/s\n"
    )
    print("| figure | value | goal |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['value']:.2f} | {row['goal']} |")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
