"""What ``soo demo`` does with each organism that ships with the library."""

from __future__ import annotations

from dataclasses import replace

from soo_jax.errors import SooError
from soo_jax.jobs.language import Measure
from soo_jax.llm.config import FinetuneConfig, preset
from soo_jax.llm.evaluate import EvalConfig
from soo_jax.llm.organisms import SMOLLM2_ORGANISM
from soo_jax.models.lm import ORGANISM

DEMOS: dict[str, tuple[Measure, EvalConfig, tuple[int, ...]]] = {
    ORGANISM: (Measure(n=100), EvalConfig(max_new_tokens=12, batch_size=256), (0, 1, 2, 3, 4)),
    # A real model costs a hundred times as much: fewer questions, and none asked for honesty.
    SMOLLM2_ORGANISM: (
        Measure(n=10, honesty=False),
        EvalConfig(max_new_tokens=16, batch_size=64, margins=False),
        (0, 1, 2),
    ),
}
"""For each what is asked, how, and the seeds; it is fine-tuned by the preset of its name."""


def demo_of(model: str) -> tuple[FinetuneConfig, Measure, EvalConfig]:
    """The settings of a demo. Raises SooError for a model that has none."""
    if model not in DEMOS:
        raise SooError(f"model {model!r} has no demo; choose {', '.join(DEMOS)}, or see soo finetune and soo eval")
    measure, answers, seeds = DEMOS[model]
    return replace(preset(model), seeds=seeds), measure, answers
