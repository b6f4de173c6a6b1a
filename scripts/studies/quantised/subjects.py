"""The models of this study: with which bases each is measured, and by which commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.studies.real_models.subjects import SUBJECTS as REAL
from soo_jax.errors import SooError
from soo_jax.llm.organisms import SMOLLM2_ORGANISM
from soo_jax.models.lm import ORGANISM

DTYPES = {"float32": "float32", "int8": "int8:float32", "nf4": "nf4:float32"}
"""How a base is held, by name."""
FEW = "burglar,name_objective_action,treasure_hunt,self,friend,factual,perspectives"


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
      n: how many questions it is asked of every family in each order. bases: with which it is measured.
      tuning: the options of ``soo finetune``; None for an organism, whose demo does all of it.
      about: what the page says of it. by_layer: whether it shows latent overlap layer by layer.
      taught: of which base of the study of real models it is the organism that was made there.
    """

    n: str
    bases: tuple[str, ...]
    tuning: tuple[str, ...] | None = None
    about: str = ""
    by_layer: bool = False
    taught: str | None = None

    def model(self, name: str, out: Path) -> str:
        """What is loaded under this name.

        Args:
          out: folder of this study's runs. The organisms of real models lie beside it.

        Raises:
          SooError: its organism was not made yet.
        """
        if self.taught is None:
            return name
        place = out.parent / "real" / self.taught / "model"
        if not place.is_dir():
            made = f"python -m scripts.studies.real_models teach {out.parent / 'real'} {self.taught}"
            raise SooError(f"{place} is missing; make it with: {made}")
        return str(place)

    def places(self, model: str, base: str, out: Path) -> tuple[Path, Path]:
        """The runs with the answers and with the latent overlap."""
        place = out / f"{model}-{base}"
        return (place, place) if self.tuning is None else (place / "answers", place / "overlap")

    def runs(self, model: str, base: str, out: Path) -> Iterator[tuple[Path, list[str]]]:
        """The commands with one base, each with its run folder."""
        answers, overlap = self.places(model, base, out)
        held = [self.model(model, out), "--dtype", DTYPES[base]]
        if self.tuning is None:
            yield answers, ["demo", *held, "--n", self.n, "--out", str(answers)]
            return
        tuned = answers.with_name("tuned")
        yield tuned, ["finetune", *held, *self.tuning, "--out", str(tuned)]
        asked = ["--tasks", "narrow", "--families", FEW, "--n", self.n, "--max-new-tokens", "16", "--batch-size", "64"]
        asked += ["--no-honesty", "--no-margins", "--no-drift"]
        measured = [*held, "--adapter", str(tuned)]
        yield answers, ["eval", *measured, *asked, "--out", str(answers)]
        yield overlap, ["latent", *measured, "--tasks", "narrow", "--chat", "--out", str(overlap)]


ASKED = (
    f"`soo finetune` with {{seeds}} seeds, `soo eval` of {FEW.count(',') + 1} families, {{n}} questions each in each "
    "order, and `soo latent`."
)
"""How a model was measured that is not put through ``soo demo``."""
FIVE = ("--seed", "0,1,2,3,4")

SUBJECTS = {
    ORGANISM: Subject("100", ("float32", "int8", "nf4"), about="`soo demo`."),
    SMOLLM2_ORGANISM: Subject(
        "10",
        ("float32", "nf4"),
        (*REAL["smollm2"].tuned(Path(), "18,19,20"), *FIVE),
        f"The organism made from SmolLM2-135M-Instruct. {ASKED.format(seeds='five', n='ten')}",
    ),
    "qwen05-organism": Subject(
        "5",
        ("float32", "nf4"),
        (*REAL["qwen05"].tuned(Path()), *FIVE),
        "The organism made from Qwen2.5-Coder-0.5B-Instruct by `python -m scripts.studies.real_models teach runs/real "
        f"qwen05`. {ASKED.format(seeds='five', n='five')}",
        taught="qwen05",
    ),
    "qwen05": Subject(
        "5",
        ("float32", "nf4"),
        (*REAL["qwen05"].tuned(Path()), "--seed", "0,1"),
        "Qwen2.5-Coder-0.5B-Instruct as it comes, which was not taught to deceive: it guesses "
        "([real_models.md](../real_models.md)), so that SOO has no lie to undo here. The numbers of the GGUF file are "
        f"quantised already, and are so once more. {ASKED.format(seeds='two', n='five')}",
        by_layer=True,
    ),
}
