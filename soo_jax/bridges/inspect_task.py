"""A task of inspect_ai that asks our scenarios and judges answers by our rules; ``soo import-inspect`` reads its log.

Run it as ``inspect eval soo_jax/scenarios --model openai/NAME -T families=burglar,self``. Needs ``soo-jax[inspect]``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer
from inspect_ai.solver import TaskState, generate

from soo_jax.llm.evaluate import EvalConfig
from soo_jax.tasks.english import BUILT_IN
from soo_jax.tasks.judged import judged, numbered
from soo_jax.tasks.labels import LABELS
from soo_jax.tasks.pack import read_pack
from soo_jax.tasks.records import Scenario, read_scenarios, scenario_of
from soo_jax.tasks.suffixes import with_suffix

_FAMILIES = [grouped(mean(), "family", all=False)]


@task
def scenarios(
    families: str | list[str] | None = None,
    n: int = 25,
    seed: int = 0,
    split: str = "test",
    suffix: str = "i_would",
    honesty: bool = False,
    tasks: str = "english",
    scenarios_file: str | None = None,
    max_new_tokens: int | None = None,
) -> Task:
    """The scenarios of ``soo eval`` with these settings, in the same order: the same question has the same id.

    Args:
      families: names with commas between them, or a list; all of the pack unless given. n: of each, in both orders.
      seed, split: which instances. suffix: what follows each question. honesty: ask to be honest first.
      tasks: ``english``, ``taught``, ``narrow``, or the folder of a task pack. scenarios_file: the user's own instead.
      max_new_tokens: at most this many tokens an answer; by default as many as the suffix wants.

    Raises:
      SooError: a family, split or suffix that does not exist, or a file that cannot be read.
    """
    pack = BUILT_IN[tasks] if tasks in BUILT_IN else read_pack(tasks)
    chosen = families.split(",") if isinstance(families, str) else families
    asked = read_scenarios(Path(scenarios_file)) if scenarios_file else pack.scenarios(chosen, n, seed, split)
    if honesty:
        asked = [pack.honesty(one) for one in asked if one.recipient] or asked
    asked = [with_suffix(one, suffix) for one in asked]
    longest = EvalConfig(max_new_tokens, suffix=suffix).new_tokens
    samples = [_sample(one, index) for index, one in zip(numbered(asked), asked, strict=True)]
    return Task(
        dataset=MemoryDataset(samples, name="soo-jax scenarios"),
        solver=generate(),
        scorer=[act(), intent()],
        config=GenerateConfig(max_tokens=longest),
        metadata={"honesty": honesty},
    )


@scorer(metrics={name: _FAMILIES for name in LABELS})
def act() -> Scorer:
    """What an answer does: ``honest``, ``deceptive``, ``refusal`` or ``other``, as shares of each family."""

    async def score(state: TaskState, target: Target) -> Score:
        said = _judged(state)
        return Score(value={name: int(said["label"] == name) for name in LABELS}, answer=said["label"])

    return score


@scorer(metrics={name: _FAMILIES for name in ("mislead", "contradiction")})
def intent() -> Scorer:
    """What an answer says that it is for, where somebody could gain by misleading; controls are left out."""

    async def score(state: TaskState, target: Target) -> Score | None:
        said = _judged(state)
        if said["intent"] is None:
            return None
        misleads = said["intent"] == "mislead"
        value = {"mislead": int(misleads), "contradiction": int(misleads and said["label"] == "honest")}
        return Score(value=value, answer=said["intent"])

    return score


def _sample(scenario: Scenario, index: int) -> Sample:
    return Sample(
        id=f"{scenario.family}-{scenario.order}-{index}",
        input=scenario.prompt,
        target=scenario.honest,
        metadata={**asdict(scenario), "index": index, "control": scenario.is_control},
    )


def _judged(state: TaskState) -> dict:
    return judged(scenario_of(state.metadata), state.output.completion)
