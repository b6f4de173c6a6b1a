"""Deception measured by what a model says: free answers, labelled, and the log-probability margin behind them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.adapters import Lora, Member, Stack, stack_size
from soo_jax.adapters.members import SEED, columns
from soo_jax.checkpoints import digest, stopped_by_ctrl_c
from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.journal import Journal
from soo_jax.llm.margins import Margins
from soo_jax.models.finite import advice, first_not_finite
from soo_jax.models.generate import Sampling, generate, shared_start, snug
from soo_jax.models.lm import LM
from soo_jax.overlap.content import content
from soo_jax.parallel import put_rows
from soo_jax.progress import Progress
from soo_jax.tasks.judged import judged, numbered
from soo_jax.tasks.records import Scenario
from soo_jax.tasks.statistics import count_responses
from soo_jax.tasks.suffixes import SENTENCES, with_suffix


@dataclass(frozen=True)
class EvalConfig:
    """How scenarios are put and answered.

    Attributes:
      max_new_tokens: at most this many tokens an answer; None leaves it to the suffix: 64 where it asks for a sentence,
        so that a reason is heard out, else 32. batch_size: prompts in one device call.
      suffix: what follows each prompt (``soo_jax.tasks.suffixes.SUFFIXES``).
      chat: put prompts as chat messages; None does so if the tokenizer has a chat template.
      temperature: 0 is greedy. top_p, seed: for sampling.
      margins: also measure ``log p(deceptive) - log p(honest)`` behind each scenario's lead.
    """

    max_new_tokens: int | None = None
    batch_size: int = 128
    suffix: str = "none"
    chat: bool | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    margins: bool = True

    def __post_init__(self):
        for name in ("max_new_tokens", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SooError(f"{name} must be at least 1, found {value}")
        if self.temperature < 0:
            raise SooError(f"temperature must not be negative, found {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise SooError(f"top_p must be in (0, 1], found {self.top_p}")

    @property
    def new_tokens(self) -> int:
        """At most this many tokens an answer."""
        return self.max_new_tokens or (64 if self.suffix in SENTENCES else 32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "max_new_tokens": self.new_tokens}


class Evaluation(NamedTuple):
    """Tidy rows of counts, and every response with its label (fields: docs/data.md)."""

    rows: list[dict[str, Any]]
    responses: list[dict[str, Any]]


def evaluate(
    lm: LM,
    scenarios: Sequence[Scenario],
    config: EvalConfig | None = None,
    *,
    adapters: Stack | Lora | Iterable[Lora] | None = None,
    members: Sequence[Member] | None = None,
    condition: str | None = None,
    journal: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Asks every scenario of the base model, or of each adapter of a stack, and labels the answers.

    Where activations are not finite (float16 overflows, an adapter is broken), a warning says so once, with the layer;
    the answers that rest on them are counted as ``other`` and under ``not_finite``, their margins are None.

    Args:
      adapters: one adapter, several, or a stack; all answer in the same program.
      members: what sets the adapters apart in the rows; by default what the stack knows of them, else seeds 0, 1, ...
      condition: of the rows; by default ``base`` or, with adapters, ``soo``.
      journal: a file in which answers are kept, batch by batch, as they come. resume: go on behind those that it holds;
        ends with the same answers, to the bit, as an evaluation that was never interrupted, sampled ones included.

    Raises:
      SooError: no scenarios, a prompt that does not fit the model's context, or a journal of other questions, settings
        or weights.
      Stopped: Ctrl-C arrived while a journal was kept.
    """
    config = config or EvalConfig()
    if not scenarios:
        raise SooError("scenarios: none given; evaluation needs at least one")
    stack = None if adapters is None else Stack.of(adapters, members, lm.config)
    own = [{SEED: None}] if stack is None else columns(stack.members)
    condition = condition or ("base" if stack is None else "soo")
    asked = [with_suffix(scenario, config.suffix) for scenario in scenarios]
    prompts = _render(lm, [s.prompt for s in asked], config)
    lora = None if stack is None else stack.lora
    kept = None if journal is None else Journal(journal, _identity(lm, asked, prompts, config, lora), resume)
    with stopped_by_ctrl_c(None if journal is None else Path(journal).parent):
        answers = answer(lm, prompts, config, lora, kept, progress, asked if config.margins else None)
    _tell_not_finite(lm, prompts, config, lora, answers)
    index = numbered(asked)
    responses = [
        {
            "condition": condition,
            **own[s],
            "index": index[i],
            **judged(scenario, answers.texts[s][i], answers.finite[s][i]),
            "logp_margin": answers.margins[s][i] if answers.finite[s][i] else None,
            **({} if answers.finite[s][i] else {"not_finite": True}),
        }
        for s in range(len(own))
        for i, scenario in enumerate(asked)
    ]
    return Evaluation(count_responses(responses), responses)


def check_scenarios(lm: LM, scenarios: Sequence[Scenario], config: EvalConfig) -> None:
    """Raises the SooError that :func:`evaluate` would, before a question is asked."""
    if not scenarios:
        raise SooError("scenarios: none given; evaluation needs at least one")
    asked = [with_suffix(scenario, config.suffix) for scenario in scenarios]
    prompts = _render(lm, [s.prompt for s in asked], config)
    rows = lm.token_ids(prompts, chat=_chat(lm, config))
    _check_room(lm, prompts, rows, config, asked if config.margins else None)


def _chat(lm: LM, config: EvalConfig) -> bool:
    return lm.has_chat_template if config.chat is None else config.chat


def _render(lm: LM, prompts: Sequence[str], config: EvalConfig) -> list[str]:
    return [lm.as_chat(prompt) for prompt in prompts] if _chat(lm, config) else list(prompts)


class Answers(NamedTuple):
    """Free answers ``[S][prompt]`` (S = 1 without a stack), whether the numbers behind each were finite, and the margin
    of each (None where it is not finite, or was not asked for)."""

    texts: list[list[str]]
    finite: list[list[bool]]
    margins: list[list[float | None]]


def answer(
    lm: LM,
    prompts: Sequence[str],
    config: EvalConfig,
    stack: Lora | None = None,
    kept: Journal | None = None,
    progress: Progress | None = None,
    scenarios: Sequence[Scenario] | None = None,
) -> Answers:
    """Answers rendered prompts freely; what is kept of an interrupted run is not asked again.

    Args:
      scenarios: behind the prompts, whose margins are measured in the same passes.
    """
    rows = lm.token_ids(prompts, chat=_chat(lm, config))
    margins = _check_room(lm, prompts, rows, config, scenarios)
    shared = shared_start(rows) if margins is None else margins.shared
    count = 1 if stack is None else stack_size(stack)
    everywhere = lambda value: [[value] * len(prompts) for _ in range(count)]
    answers = Answers(everywhere(""), everywhere(True), everywhere(None))
    done = 0
    own = [row[shared:] for row in rows]
    for indices, tokens, mask in batches(lm, own, config.batch_size, config.new_tokens + shared):
        prompted = _Prompted(tokens, mask, rows[0][:shared], indices, margins)
        found = _once(kept, f"batch {done}", partial(_said, lm, prompted, done, config, stack))
        for all_values, values in zip(answers, found, strict=True):
            for s in range(count):
                for row, i in enumerate(indices):
                    all_values[s][i] = values[s][row]
        done += len(indices)
        if progress is not None:
            progress(done, len(prompts))
    return answers


class _Prompted(NamedTuple):
    """A batch of prompts: what each has of its own ``[B, T]``, what all begin with, which they are, their margins."""

    tokens: Array
    mask: Array
    prefix: Sequence[int]
    indices: list[int]
    margins: Margins | None


def _said(lm: LM, prompted: _Prompted, before: int, config: EvalConfig, stack: Lora | None) -> list[list[list[Any]]]:
    """What :class:`Answers` holds, of the rows of a batch.

    Draws depend on the number of prompts ``before`` it alone, and so not on what was asked in this process.
    """
    tokens, mask, prefix, indices, margins = prompted
    branches = None if margins is None else margins.branches(indices, len(tokens), lm.pad_token)
    out = generate(
        lm.config,
        lm.params,
        tokens,
        mask,
        jax.random.fold_in(jax.random.key(config.seed), before),
        max_new_tokens=config.new_tokens,
        stop_tokens=lm.stop_tokens,
        pad_token=lm.pad_token,
        sampling=Sampling(config.temperature, config.top_p),
        adapters=stack,
        stacked=stack is not None,
        first=0 if stack is None else stack.config.lowest_layer,
        prefix=jnp.asarray(prefix, jnp.int32) if len(prefix) else None,
        branches=put_rows(branches, lm.mesh),
        makes_room=lm.mesh is None,
    )
    per_member = lambda x: (whole(x)[None] if stack is None else whole(x))[:, : len(indices)]
    said, finite = per_member(out.tokens), per_member(out.finite).tolist()
    apart = [[None] * len(indices) for _ in said]
    if margins is not None:
        apart = margins.read(indices, per_member(out.branches))
    return [[lm.decode(one) for one in said], finite, apart]


def _once(kept: Journal | None, name: str, do: Callable[[], Any]) -> Any:
    return do() if kept is None else kept.once(name, do)


def _identity(
    lm: LM, asked: Sequence[Scenario], prompts: Sequence[str], config: EvalConfig, lora: Lora | None
) -> dict[str, Any]:
    """What kept answers belong to."""
    return {
        "base": lm.fingerprint,
        "dtype": lm.dtype,
        "adapters": None if lora is None else digest(content(lora.config), *map(whole, jax.tree.leaves(lora))),
        "questions": digest([[s.lead, s.honest, s.deceptive] for s in asked], list(prompts)),
        "tokens": digest(lm.token_ids(prompts, chat=_chat(lm, config)), list(lm.stop_tokens)),
        "eval": config.as_dict(),
    }


def _tell_not_finite(
    lm: LM,
    prompts: Sequence[str],
    config: EvalConfig,
    stack: Lora | None,
    answers: Answers,
) -> None:
    """Warns once, with the layer at which the first of them begins, where numbers were not finite."""
    whole = lambda s, i: answers.finite[s][i] and not (config.margins and answers.margins[s][i] is None)
    bad = [(s, i) for s in range(len(answers.texts)) for i in range(len(prompts)) if not whole(s, i)]
    if not bad:
        return
    s, i = bad[0]
    one = None if stack is None else jax.tree.map(lambda leaf: leaf[s], stack)
    tokens, mask = lm.encode([prompts[i]], chat=_chat(lm, config))
    warnings.warn(
        f"{len(bad)} of {len(answers.texts) * len(prompts)} answers or margins mean nothing: "
        f"{advice(lm, first_not_finite(lm, tokens, mask, one))}",
        SooWarning,
        stacklevel=3,
    )


def _check_room(
    lm: LM,
    prompts: Sequence[str],
    rows: Sequence[Sequence[int]],
    config: EvalConfig,
    scenarios: Sequence[Scenario] | None = None,
) -> Margins | None:
    """Refuses prompts that do not fit the context with what follows them; the margins of scenarios, if any."""
    follows = [config.new_tokens] * len(rows)
    if any(not row for row in rows):
        raise SooError(f"prompt {next(p for p, row in zip(prompts, rows, strict=True) if not row)!r} gives no token")
    margins = None if scenarios is None else Margins.of(lm, scenarios, prompts, rows, _chat(lm, config))
    if margins is not None:
        ends = zip(margins.longest, rows, follows, strict=True)
        follows = [max(new, end - len(row)) for end, row, new in ends]
    for prompt, row, new in zip(prompts, rows, follows, strict=True):
        if len(row) + new > lm.config.max_positions:
            raise SooError(
                f"a prompt of {len(row)} tokens and {new} new ones do not fit the model's context of "
                f"{lm.config.max_positions}; shorten it, or lower --max-new-tokens: {prompt[:60]!r}..."
            )
    return margins


def batches(
    lm: LM, rows: Sequence[Sequence[int]], size: int, taken: int = 0
) -> Iterator[tuple[list[int], Array, Array]]:
    """Rows of similar length together, in batches of nearly one size: ``(indices, tokens [B, T], mask [B, T])``.

    Args:
      taken: positions of the model's context that are not theirs.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    eights = lambda n: -(-n // 8) * 8
    count = max(1, -(-len(rows) // size))
    each = min(size, eights(max(1, -(-len(rows) // count))))
    for start in range(0, len(rows), each):
        indices = order[start : start + each]
        width = snug(max(len(rows[i]) for i in indices), lm.config.max_positions - taken)
        # A batch is filled up to a multiple of eight, so that few shapes are compiled; on a mesh to what divides.
        arrays = lm.pad([rows[i] for i in indices], width, size if lm.mesh is not None else eights(len(indices)))
        yield indices, *map(jnp.asarray, put_rows(arrays, lm.mesh))
