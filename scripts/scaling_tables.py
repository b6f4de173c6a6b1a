"""Writes the tables of docs/scaling.md: what the planner says of the models of the paper.

python scripts/scaling_tables.py          # about a minute; nothing is loaded and nothing is downloaded
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import soo_jax as soo
from soo_jax.files import write_atomically
from soo_jax.llm.chips import parse_devices
from soo_jax.llm.planner import Work, plan
from soo_jax.models.architectures import config_from_hf
from soo_jax.models.config import DecoderConfig

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- plans -->\n", "\n<!-- /plans -->"
_MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}
_GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "hidden_size": 4608,
    "intermediate_size": 36864,
    "num_hidden_layers": 46,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "head_dim": 128,
    "vocab_size": 256000,
    "query_pre_attn_scalar": 144,
}
_CALME = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 86,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 151646,
}
MODELS: dict[str, tuple[str, DecoderConfig]] = {
    name: (preset, config_from_hf({"max_position_embeddings": 8192, **raw}))
    for name, preset, raw in (
        ("Mistral-7B-Instruct-v0.2", "paper-mistral", _MISTRAL),
        ("gemma-2-27b-it", "paper-gemma2", _GEMMA2),
        ("CalmeRys-78B-Orpo-v0.1", "paper-calme", _CALME),
    )
}
"""The models of the paper by name: the preset that goes with each, and its config."""
CASES = {
    "Mistral-7B-Instruct-v0.2": [("l4", "nf4"), ("a100-40", "nf4"), ("h100", "bfloat16"), ("v5e-8", "bfloat16")],
    "gemma-2-27b-it": [("h100", "nf4"), ("h100x8", "bfloat16"), ("v5e-16", "bfloat16")],
    "CalmeRys-78B-Orpo-v0.1": [("h100", "nf4"), ("h100x8", "bfloat16"), ("v5e-64", "bfloat16"), ("v5p-16", "bfloat16")],
}


def lines(name: str) -> Iterator[str]:
    """The lines of one model: one for each machine, way of holding the base, and job."""
    preset, config = MODELS[name]
    settings = replace(soo.preset(preset), remat=True)
    for devices, dtype in CASES[name]:
        chip, count = parse_devices(devices)
        for job in ("finetune", "eval"):
            found = plan(config, chip, count, Work(job, settings, dtype))
            layout = found.chosen
            fits = "yes" if found.fits else f"no: {'; '.join(found.cures)}"
            needs = f"{layout.bytes / 1e9:.1f} of {found.room / 1e9:.1f}"
            time = f"{layout.seconds:.1f}" if found.fits else "-"
            yield f"| {name} | {devices} | {dtype} | {job} | {layout.mesh} | {needs} | {fits} | {time} | planned |"


def table() -> str:
    """The whole table."""
    head = (
        "| model | devices | base | job | mesh | GB on a device | fits | seconds | run or planned |\n|---" + "|---" * 8
    )
    return "\n".join([f"{head}|", *(line for name in MODELS for line in lines(name))])


def main() -> int:
    """Puts the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END.strip())[1]
    write_atomically(PAGE, f"{before}{BEGIN}{table()}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
