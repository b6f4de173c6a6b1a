"""Speed of fine-tuning one upper layer of a real model, against torch + peft, alternating in one run.

    python -m scripts.bench_upper --out docs/bench_upper.json

SmolLM2-135M-Instruct in float32 (fetched: 93 MB), 52 pairs of whole scenes as chat messages, batch 4, LoRA of rank 8 on
q, k, v and o of layer 18 of 30, the attention output of that layer at the last token, both sides moved.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import soo_jax as soo
from scripts.bench_llm import machine
from soo_jax.llm import fixed
from soo_jax.llm.finetune import prepare, run_prepared
from soo_jax.models.lm import LM
from soo_jax.models.pretrained import fetch
from soo_jax.overlap.views import OTHER, SELF
from soo_jax.tasks.english import NARROW

LAYER, BATCH = 18, 4
CONFIG = soo.FinetuneConfig(
    layer=LAYER,
    lora=soo.LoraConfig(rank=8, dropout=0.0, targets=("q", "k", "v", "o"), layers=(LAYER,)),
    learning_rate=1e-3,
    batch_size=BATCH,
    chat=True,
    lead="I would recommend the",
)


def ours(lm: LM, epochs: int, seeds: int, share: float = fixed.SHARE) -> Callable[[], None]:
    """One run of soo-jax, what it computes beforehand included."""
    prepared = prepare(lm, NARROW.pairs(False), replace(CONFIG, epochs=epochs, seeds=tuple(range(seeds))))

    def run() -> None:
        before, fixed.SHARE = fixed.SHARE, share
        run_prepared(prepared)
        fixed.SHARE = before

    return run


def torch_best(lm: LM, folder: Path, epochs: int) -> Callable[[], None]:
    """One run of torch + peft: no padding beyond the longest, both sides in one pass, which stops at the layer that is
    read; what lies below the adapter keeps no gradients."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    inputs = prepare(lm, NARROW.pairs(False), replace(CONFIG, epochs=epochs)).inputs
    sides = [[torch.tensor(part).long() for part in inputs[name]] for name in (SELF, OTHER)]
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")

    class Stop(Exception):
        pass

    def run() -> None:
        torch.manual_seed(0)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        lora = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0, target_modules=targets, layers_to_transform=[LAYER])
        model = get_peft_model(base, lora).train()
        read: list[Any] = []

        def hook(_module, _inputs, output):
            read.append(output)
            raise Stop

        place = base.model.layers[LAYER].self_attn.o_proj.register_forward_hook(hook)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, foreach=True)
        for _ in range(epochs):
            for rows in torch.randperm(len(sides[0][0])).split(BATCH):
                tokens, mask = (torch.cat([side[part][rows] for side in sides]) for part in (0, 1))
                read.clear()
                with contextlib.suppress(Stop):
                    model(input_ids=tokens, attention_mask=mask, use_cache=False)
                x, y = read[0][:, -1].chunk(2)
                optimiser.zero_grad()
                torch.nn.functional.mse_loss(x, y).backward()
                optimiser.step()
        place.remove()
        model.unload()

    return run


def main(arguments: list[str]) -> int:
    """Prints a table of seconds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    path = fetch("smollm2", lambda line: print(line, file=sys.stderr))
    lm = soo.load(path)
    with tempfile.TemporaryDirectory() as temporary:
        folder = soo.convert(path, Path(temporary) / "model")
        runs = {
            "torch + peft done well, one seed": torch_best(lm, folder, options.epochs),
            "soo-jax, one seed, all computed at every update": ours(lm, options.epochs, 1, 0.0),
            "soo-jax, one seed": ours(lm, options.epochs, 1),
            "soo-jax, five seeds at once": ours(lm, options.epochs, 5),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(options.rounds + 1):  # the first is not counted: compilation, allocators
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    peer = median["torch + peft done well, one seed"]
    print(f"| {options.epochs} epochs of 52 pairs | seconds | times torch + peft |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.1f} | {peer / value:.1f} |")
    if options.out:
        found = {"seconds": seconds, "median": median, "epochs": options.epochs, "machine": machine()}
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
