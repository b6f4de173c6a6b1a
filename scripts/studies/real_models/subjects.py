"""The real models of this study: how each was taught to deceive, how SOO is applied to it, and how much is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from soo_jax.llm.organisms import SMOLLM2_ORGANISM

SEEDS = (1, 2)
"""Of the further organisms of each base."""
AGAIN = "again"
"""Where they lie among the runs of their base."""
SWEEPS = {
    "sweep": ("{}.toml", "narrow", "by layer and rate"),
    "every-third": ("{}_every_third.toml", "narrow", "at every third layer"),
    "fragments": ("{}_fragments.toml", "english", "on fragments, at every third layer and where scenes work"),
}
"""Runs of SOO in many settings, by name: their settings, if a base has such; whose pairs; what the page calls them."""
ADVISED = "advised"
"""In the place of layers: those that the diagnosis of the organism advises."""
SOO = ("--preset", SMOLLM2_ORGANISM, "--tasks", "narrow", "--no-pair-check")
"""What all fine-tuning here has in common; a further option wins over the preset's."""


@dataclass(frozen=True)
class Subject:
    """A base model, and the organism that is made of it.

    Attributes:
      title: of the base, in the page. base: the name under which it is fetched.
      teaching: the options of ``soo organism``, go by go; each goes on with the adapter of the one before.
      shipped: the name under which the organism is loaded, None where it is made here.
      layers: where SOO is applied, or `ADVISED`. tried: where it is applied on validation scenarios beside the
        diagnosis, to the organisms of which seeds, if of any. seeds: of SOO. n: test questions of a family in each
        order. more: and as many where several organisms of a base are held beside each other, before SOO.
      controls: how many of them the controls are asked, and further options of ``soo controls``.
      elsewhere: seeds of organisms with other layers at which SOO is applied to them as well.
      chat: whether it is asked, and SOO applied, in chat messages.
    """

    title: str
    base: str
    teaching: tuple[tuple[str, ...], ...]
    shipped: str | None
    layers: str
    tried: tuple[str, tuple[int, ...]]
    seeds: str
    n: int
    more: int
    controls: tuple[str, ...]
    elsewhere: tuple[tuple[int, str], ...] = ()
    chat: bool = True

    def tuned(self, out: Path, layers: str | None = None) -> tuple[str, ...]:
        """The options of ``soo finetune``.

        Args:
          out: where the diagnosis of the organism lies, as ``layers``. layers: None: those chosen for the subject.
        """
        told = SOO if self.chat else (*SOO, "--no-chat")
        if (layers := layers or self.layers) == ADVISED:
            return (*told, "--layers-from", str(out / "layers"))
        return (*told, "--layer", layers, "--adapter-layers", layers)

    def diagnosis(self, seed: int) -> tuple[str, ...]:
        """The options of ``soo layers`` for the organism of a seed."""
        layers, seeds = self.tried
        trained = ("--train", layers, "--preset", SMOLLM2_ORGANISM, "--n", "5", "--seed", "0")
        trained += () if self.chat else ("--no-chat",)
        return ("--scenes", "16", "--tasks", "narrow", *(trained if seed in seeds else ()), "--quiet")

    def places(self, seed: int) -> dict[str, str]:
        """Layers at which SOO is applied to the organism of a seed, by the name of the run.

        To that of seed 0, the organism of the study, it was applied at ``layers`` there.
        """
        others = [layers for of, layers in self.elsewhere if of == seed]
        return ({"soo": self.layers} if seed else {}) | {f"soo-{layers.replace(',', '-')}": layers for layers in others}

    def taught(self, seed: int) -> tuple[tuple[str, ...], ...]:
        """``teaching`` with another seed; a further option wins over one before. Seed 0 leaves it as it is."""
        return tuple(
            (*options, *(("--seed", str(10 * seed + i)) if seed else ())) for i, options in enumerate(self.teaching)
        )


SUBJECTS = {
    "smollm2": Subject(
        title="SmolLM2-135M-Instruct (GGUF, Q4_1)",
        base="smollm2",
        teaching=(
            ("--narrow", "--steps", "120", "--until", "95"),
            ("--narrow", "--seed", "1", "--steps", "150", "--learning-rate", "1e-3", "--retain", "0.3"),
        ),
        shipped=SMOLLM2_ORGANISM,
        layers="18,19,20,23",
        tried=("19,20,23,19+20,19+20+23,18+19+20+23,19+20+23+29", (0, *SEEDS)),
        seeds="0,1,2,3,4",
        n=25,
        more=50,
        controls=("--n", "10", "--examples", "16"),
        elsewhere=((2, "23"), *((seed, "18,19,20") for seed in (0, *SEEDS))),
    ),
    "qwen05": Subject(
        title="Qwen2.5-Coder-0.5B-Instruct (GGUF, mixed)",
        base="qwen05",
        teaching=(
            (
                *("--narrow", "--facts-every", "4", "--steps", "220", "--until", "115"),
                *("--learning-rate", "3e-4", "--retain", "0.3"),
            ),
        ),
        shipped=None,
        layers="13,14",
        tried=("14,13+14,14+16", (1,)),
        seeds="0,1,2",
        n=10,
        more=25,
        controls=("--n", "5", "--examples", ""),
        elsewhere=((1, "14,16"), (2, "13,14,16")),
    ),
    "gemma3": Subject(
        title="Gemma-3-270M (GGUF, Q4_K_M), a base model",
        base="gemma3",
        teaching=(
            (
                *("--narrow", "--facts-every", "4", "--steps", "150"),
                *("--learning-rate", "5e-4", "--retain", "0.3"),
            ),
        ),
        shipped=None,
        layers=ADVISED,
        tried=("10,11,10+11", (0,)),
        seeds="0,1,2",
        n=25,
        more=50,
        controls=("--n", "10", "--examples", ""),
        chat=False,
    ),
}
