"""Speed of fine-tuning and evaluation against torch + peft and transformers.generate, alternating in one run.

    python scripts/bench_llm.py --out bench_llm.json

Prints a table and writes JSON: seconds (median of rounds), rates, ratios, peak memory of each contender in a process
of its own, versions and machine. The model is a random Mistral of 4 layers, width 512, vocabulary 32,000.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, WIDTH, VOCABULARY, LAYER = 4, 512, 32_000, 2
PAIRS, BATCH, EPOCHS = 52, 4, 2
PROMPTS, NEW_TOKENS = 250, 32
ALONE = 50  # prompts that are timed one by one: each costs the same, so a sample gives the rate
SELF_TOKENS, OTHER_TOKENS, PROMPT_TOKENS = (22, 28), (26, 34), (70, 96)
"""Ranges of lengths: what Mistral's tokenizer makes of the built-in pairs and of the burglar scenario."""


def lengths_and_ids(rng: np.random.Generator, count: int, span: tuple[int, int], width: int | None = None):
    """Left-padded random ids ``[count, T]`` and mask; T is the longest, or ``width``."""
    lengths = rng.integers(*span, count, endpoint=True)
    width = width or int(lengths.max())
    mask = np.arange(width) >= width - lengths[:, None]
    return np.where(mask, rng.integers(3, VOCABULARY, (count, width)), 0).astype(np.int32), mask


def data(width: int | None = None):
    """Self and other side of the pairs, padded to one common width; always the same texts."""
    rng = np.random.default_rng(0)
    common = width or OTHER_TOKENS[1]
    return lengths_and_ids(rng, PAIRS, SELF_TOKENS, common), lengths_and_ids(rng, PAIRS, OTHER_TOKENS, common)


def write_model(folder: Path) -> None:
    """The random model, as a Hugging Face folder."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=1408,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        sliding_window=None,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    MistralForCausalLM(config).save_pretrained(folder)


# ---- the peer ------------------------------------------------------------------------------------------------------


def torch_finetune(folder: Path, best: bool) -> Callable[[], None]:
    """One run of torch + peft: AdamW on the MSE between the attention outputs of one layer, last token.

    As the original does it, prompts are padded to 128 and each side goes through the whole model up to the logits.
    ``best`` pads to the longest prompt, runs both sides in one pass and leaves the model at the layer that is read.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    sides = data(None if best else 128)
    (own, own_mask), (other, other_mask) = [(torch.tensor(t).long(), torch.tensor(m).long()) for t, m in sides]

    class Stop(Exception):
        pass

    def run() -> None:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        lora = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.2, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(base, lora).train()
        read: list[Any] = []

        def hook(_module, _inputs, output):
            read.append(output)
            if best:
                raise Stop

        base.model.layers[LAYER].self_attn.o_proj.register_forward_hook(hook)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, foreach=True)

        def activations(tokens, mask):
            read.clear()
            with contextlib.suppress(Stop):
                model(input_ids=tokens, attention_mask=mask, use_cache=False)
            return read[0][:, -1]

        for _ in range(EPOCHS):
            for rows in torch.randperm(PAIRS).split(BATCH):
                if best:
                    both = activations(
                        torch.cat([own[rows], other[rows]]), torch.cat([own_mask[rows], other_mask[rows]])
                    )
                    x, y = both.chunk(2)
                else:
                    x, y = activations(own[rows], own_mask[rows]), activations(other[rows], other_mask[rows])
                loss = torch.nn.functional.mse_loss(x, y)
                loss.backward()
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)

    return run


def torch_generate(folder: Path, batch: int) -> Callable[[], None]:
    """Greedy answers to all prompts by ``transformers.generate``, ``batch`` at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    tokens, mask = lengths_and_ids(np.random.default_rng(1), PROMPTS, PROMPT_TOKENS)
    count = ALONE if batch == 1 else PROMPTS
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()

    def run() -> None:
        with torch.no_grad():
            for start in range(0, count, batch):
                rows = slice(start, start + batch)
                ids, own = torch.tensor(tokens[rows]).long(), torch.tensor(mask[rows]).long()
                if batch == 1:
                    ids, own = ids[:, own[0] > 0], own[:, own[0] > 0]
                model.generate(
                    ids,
                    attention_mask=own,
                    max_new_tokens=NEW_TOKENS,
                    min_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                )

    return run


# ---- ours ----------------------------------------------------------------------------------------------------------


def our_finetune(folder: Path, seeds: int, direction: str = "both") -> Callable[[], None]:
    """One run of soo-jax with the same data, loss, adapter and number of updates, ``seeds`` adapters at once."""
    import jax
    import jax.numpy as jnp

    import soo_jax as soo
    from soo_jax.adapters import Member
    from soo_jax.llm.finetune import make_varied
    from soo_jax.llm.training import Data, Recipe, Tokens, init_state, train
    from soo_jax.models.architectures import read_config
    from soo_jax.models.loading import load_params

    config = read_config(folder)
    params = load_params(folder, config, "float32")
    objective = soo.weighted(overlap=(1.0, soo.overlap(soo.mse, at=soo.attn_out(LAYER), direction=direction)))
    updates = EPOCHS * PAIRS // BATCH
    lora = soo.LoraConfig(rank=8, alpha=32.0, dropout=0.2)
    recipe = Recipe(config, lora, objective, updates, BATCH, 1, 0.01, 0.0, 0, "constant", 0.0, False, None)
    (own, own_mask), (other, other_mask) = data()
    arrays = jax.tree.map(
        jnp.asarray, Data({"self": Tokens(own, own_mask), "other": Tokens(other, other_mask)}, np.float32(1.0))
    )
    members = make_varied([Member.of(seed=seed, learning_rate=1e-4) for seed in range(seeds)], recipe)

    def run() -> None:
        state = train(recipe, params, arrays, members, init_state(recipe, members), jnp.asarray(updates))
        jax.block_until_ready(state)

    return run


def our_generate(folder: Path, batch: int) -> Callable[[], None]:
    """Greedy answers to all prompts by soo-jax."""
    import jax
    import jax.numpy as jnp

    from soo_jax.models.architectures import read_config
    from soo_jax.models.generate import generate
    from soo_jax.models.loading import load_params

    config = read_config(folder)
    params = load_params(folder, config, "float32")
    tokens, mask = lengths_and_ids(np.random.default_rng(1), PROMPTS, PROMPT_TOKENS)

    def run() -> None:
        for start in range(0, PROMPTS, batch):
            rows = slice(start, start + batch)
            out = generate(
                config,
                params,
                jnp.asarray(tokens[rows]),
                jnp.asarray(mask[rows]),
                jax.random.key(0),
                max_new_tokens=NEW_TOKENS,
                stop_tokens=(),
            )
            jax.block_until_ready(out)

    return run


CONTENDERS: dict[str, tuple[str, Callable[[Path], Callable[[], None]], int]] = {
    # name: (task, how it is made, units of work in a run)
    "torch_original": ("finetune", lambda f: torch_finetune(f, best=False), PAIRS * EPOCHS),
    "torch_best": ("finetune", lambda f: torch_finetune(f, best=True), PAIRS * EPOCHS),
    "ours_1_seed": ("finetune", lambda f: our_finetune(f, 1), PAIRS * EPOCHS),
    "ours_5_seeds": ("finetune", lambda f: our_finetune(f, 5), 5 * PAIRS * EPOCHS),
    "ours_1_seed_one_sided": ("finetune", lambda f: our_finetune(f, 1, "other_to_self"), PAIRS * EPOCHS),
    "transformers_one_by_one": ("evaluate", lambda f: torch_generate(f, 1), ALONE),
    "transformers_batched": ("evaluate", lambda f: torch_generate(f, 125), PROMPTS),
    "ours_batched": ("evaluate", lambda f: our_generate(f, 125), PROMPTS),
}
RATIOS = (
    ("fine-tuning, one seed, against torch + peft as the original", "ours_1_seed", "torch_original", 12.0),
    ("fine-tuning, one seed, against torch + peft done well", "ours_1_seed", "torch_best", 1.2),
    ("fine-tuning, five seeds, against torch + peft done well", "ours_5_seeds", "torch_best", 2.0),
    ("evaluation against transformers one by one", "ours_batched", "transformers_one_by_one", 10.0),
    ("evaluation against transformers batched", "ours_batched", "transformers_batched", 1.5),
)


def measure(folder: Path, names: list[str], rounds: int) -> dict[str, Any]:
    """Times all contenders in turn, round by round, after one untimed run of each (compilation, allocators)."""
    runs, first = {}, {}
    for name in names:
        runs[name] = CONTENDERS[name][1](folder)
        start = time.perf_counter()
        runs[name]()
        first[name] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "task": CONTENDERS[name][0],
            "seconds": statistics.median(seconds[name]),
            "seconds_all": seconds[name],
            "first_run_seconds": first[name],
            "per_second": CONTENDERS[name][2] / statistics.median(seconds[name]),
        }
        for name in names
    }


def peak_memory(folder: Path, name: str) -> float:
    """Peak resident memory (MiB) of a process that does one run of one contender and nothing else."""
    command = [sys.executable, __file__, "--alone", name, "--model", str(folder)]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--task", choices=("finetune", "evaluate"), help="only this one")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory runs")
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        CONTENDERS[arguments.alone][1](arguments.model)()
        print(own_peak_mib())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder)
        results: dict[str, Any] = {}
        for task in ("finetune", "evaluate"):
            if arguments.task in (None, task):
                names = [name for name, contender in CONTENDERS.items() if contender[0] == task]
                results |= measure(folder, names, arguments.rounds)
        if not arguments.no_memory:
            for name in results:
                results[name]["peak_mib"] = peak_memory(folder, name)
    show(results)
    if arguments.out:
        ratios = [
            {"what": what, "ratio": results[ours]["per_second"] / results[peer]["per_second"], "goal": goal}
            for what, ours, peer, goal in RATIOS
            if ours in results and peer in results
        ]
        report = {"results": results, "ratios": ratios, "machine": machine()}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def show(results: dict[str, Any]) -> None:
    """Prints the figures as a Markdown table."""
    print("| contender | per second | seconds | first run | peak MiB |\n|---|---|---|---|---|")
    for name, row in results.items():
        unit = "pairs" if row["task"] == "finetune" else "prompts"
        memory = f"{row['peak_mib']:.0f}" if "peak_mib" in row else ""
        times = f"{row['seconds']:.2f} | {row['first_run_seconds']:.2f}"
        print(f"| {name} | {row['per_second']:.1f} {unit} | {times} | {memory} |")
    print("\n| ours against the peer | ratio | goal |\n|---|---|---|")
    for what, ours, peer, goal in RATIOS:
        if ours in results and peer in results:
            print(f"| {what} | {results[ours]['per_second'] / results[peer]['per_second']:.2f} | {goal} |")


if __name__ == "__main__":
    main()
