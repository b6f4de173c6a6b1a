"""Deception measured by what a model says: free answers, labelled, and the log-probability margin behind them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, Member, Stack, stack_size
from soo_jax.adapters.members import SEED, columns
from soo_jax.checkpoints import digest, stopped_by_ctrl_c
from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.journal import Journal
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward, unembed
from soo_jax.models.finite import advice, first_not_finite
from soo_jax.models.generate import Sampling, generate, snug
from soo_jax.models.lm import LM
from soo_jax.models.probes import residual
from soo_jax.overlap.content import content
from soo_jax.parallel import NamedSharding, rows_spec
from soo_jax.progress import Progress
from soo_jax.tasks.judged import judged, numbered
from soo_jax.tasks.records import Scenario
from soo_jax.tasks.statistics import count_responses
from soo_jax.tasks.suffixes import SENTENCES, with_suffix

"""Called with prompts answered and prompts in all."""


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
        answers = answer(lm, prompts, config, lora, kept, progress)
        margins = measure_margins(lm, asked, prompts, config, lora, kept) if config.margins else None
    _tell_not_finite(lm, prompts, config, lora, answers, margins)
    index = numbered(asked)
    responses = [
        {
            "condition": condition,
            **own[s],
            "index": index[i],
            **judged(scenario, answers.texts[s][i], answers.finite[s][i]),
            "logp_margin": margins[s][i] if margins is not None and answers.finite[s][i] else None,
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
    _check_room(lm, prompts, rows, config.new_tokens)
    if config.margins:
        _margin_rows(lm, asked, prompts, config)


def _chat(lm: LM, config: EvalConfig) -> bool:
    return lm.has_chat_template if config.chat is None else config.chat


def _render(lm: LM, prompts: Sequence[str], config: EvalConfig) -> list[str]:
    return [lm.as_chat(prompt) for prompt in prompts] if _chat(lm, config) else list(prompts)


class Answers(NamedTuple):
    """Free answers ``[S][prompt]`` (S = 1 without a stack), and whether the numbers behind each were finite."""

    texts: list[list[str]]
    finite: list[list[bool]]


def answer(
    lm: LM,
    prompts: Sequence[str],
    config: EvalConfig,
    stack: Lora | None = None,
    kept: Journal | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Answers rendered prompts freely; what is kept of an interrupted run is not asked again."""
    rows = lm.token_ids(prompts, chat=_chat(lm, config))
    _check_room(lm, prompts, rows, config.new_tokens)
    count = 1 if stack is None else stack_size(stack)
    answers = Answers([[""] * len(prompts) for _ in range(count)], [[True] * len(prompts) for _ in range(count)])
    done = 0
    for indices, tokens, mask in batches(lm, rows, config.batch_size, config.new_tokens):
        texts, finite = _once(
            kept, f"answers {done}", partial(_said, lm, tokens, mask, done, len(indices), config, stack)
        )
        for s in range(count):
            for row, i in enumerate(indices):
                answers.texts[s][i], answers.finite[s][i] = texts[s][row], finite[s][row]
        done += len(indices)
        if progress is not None:
            progress(done, len(prompts))
    return answers


def _said(
    lm: LM, tokens: Array, mask: Array, before: int, count: int, config: EvalConfig, stack: Lora | None
) -> tuple[list[list[str]], list[list[bool]]]:
    """Answers to the first ``count`` rows of a batch, ``[S][count]``, and whether each is finite.

    Draws depend on the number of prompts ``before`` it alone, and so not on what was asked in this process.
    """
    tokens_out, finite = generate(
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
    )
    own, finite = (whole(x)[None] if stack is None else whole(x) for x in (tokens_out, finite))
    return [lm.decode(one[:count]) for one in own], finite[:, :count].tolist()


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
    margins: list[list[float | None]] | None,
) -> None:
    """Warns once, with the layer at which the first of them begins, where numbers were not finite."""
    whole = lambda s, i: answers.finite[s][i] and (margins is None or margins[s][i] is not None)
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


def _check_room(lm: LM, prompts: Sequence[str], rows: Sequence[Sequence[int]], new_tokens: int) -> None:
    room = lm.config.max_positions - new_tokens
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > room:
            raise SooError(
                f"a prompt of {len(row)} tokens and {new_tokens} new ones do not fit the model's context of "
                f"{lm.config.max_positions}; shorten it, or lower --max-new-tokens: {prompt[:60]!r}..."
            )
        if not row:
            raise SooError(f"prompt {prompt!r} gives no token")


def batches(
    lm: LM, rows: Sequence[Sequence[int]], size: int, new_tokens: int = 0
) -> Iterator[tuple[list[int], Array, Array]]:
    """Rows of similar length together, in batches of nearly one size: ``(indices, tokens [B, T], mask [B, T])``."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    eights = lambda n: -(-n // 8) * 8
    count = max(1, -(-len(rows) // size))
    each = min(size, eights(max(1, -(-len(rows) // count))))
    for start in range(0, len(rows), each):
        indices = order[start : start + each]
        width = snug(max(len(rows[i]) for i in indices), lm.config.max_positions - new_tokens)
        # A batch is filled up to a multiple of eight, so that few shapes are compiled; on a mesh to what divides.
        arrays = lm.pad([rows[i] for i in indices], width, size if lm.mesh is not None else eights(len(indices)))
        if lm.mesh is not None:
            arrays = jax.device_put(arrays, NamedSharding(lm.mesh, rows_spec(lm.mesh, size)))
        yield indices, *map(jnp.asarray, arrays)


class _Ask(NamedTuple):
    """The log-probability of ``token`` after ``position`` tokens of a row counts towards one side of a scenario."""

    position: int
    token: int
    scenario: int
    side: int


def measure_margins(
    lm: LM,
    scenarios: Sequence[Scenario],
    prompts: Sequence[str],
    config: EvalConfig,
    stack: Lora | None = None,
    kept: Journal | None = None,
) -> list[list[float | None]]:
    """``log p(deceptive) - log p(honest)`` in nats behind prompt and lead, ``[S][scenario]``; None if not finite.

    An answer of several tokens counts with the sum of their log-probabilities.
    """
    rows, asks = _margin_rows(lm, scenarios, prompts, config)
    most = max(map(len, asks))
    count = 1 if stack is None else stack_size(stack)
    sums = np.zeros((count, len(scenarios), 2))
    for number, (indices, tokens, mask) in enumerate(batches(lm, rows, config.batch_size)):
        size, width = tokens.shape
        position, token = np.zeros((size, most), np.int32), np.zeros((size, most), np.int32)
        for row, i in enumerate(indices):
            for k, ask in enumerate(asks[i]):
                position[row, k], token[row, k] = width - len(rows[i]) + ask.position, ask.token
        read = partial(_log_probs, lm.config, lm.params, tokens, mask, position, token, stack, stack is not None)
        values = _once(kept, f"margins {number}", lambda read=read: whole(read()).tolist())
        values = np.asarray(values, np.float32).reshape(count, size, most)
        for row, i in enumerate(indices):
            for k, ask in enumerate(asks[i]):
                sums[:, ask.scenario, ask.side] += values[:, row, k]
    apart = (sums[..., 1] - sums[..., 0]).tolist()
    return [[value if math.isfinite(value) else None for value in own] for own in apart]


def _margin_rows(
    lm: LM, scenarios: Sequence[Scenario], prompts: Sequence[str], config: EvalConfig
) -> tuple[list[list[int]], list[list[_Ask]]]:
    """Token rows to run, and what to read off each: one row a scenario where both answers are one token, else two."""
    chat = _chat(lm, config)
    gap = "" if chat else " "
    leads = [f"{p}{gap}{s.lead}" if s.lead else p for p, s in zip(prompts, scenarios, strict=True)]
    texts = [f"{lead} {word}" for lead, s in zip(leads, scenarios, strict=True) for word in (s.honest, s.deceptive)]
    ids = lm.token_ids(texts, chat=chat)
    rows: list[list[int]] = []
    asks: list[list[_Ask]] = []
    for i in range(len(scenarios)):
        honest, deceptive = ids[2 * i : 2 * i + 2]
        common = next((k for k, (a, b) in enumerate(zip(honest, deceptive, strict=False)) if a != b), None)
        if common is None:
            raise SooError(f"scenario {i + 1}: its two answers are the same to the tokenizer: {scenarios[i].honest!r}")
        sides = [(0, honest), (1, deceptive)]
        if len(honest) == len(deceptive) == common + 1:
            rows.append(honest[:common])
            asks.append([_Ask(common - 1, row[common], i, side) for side, row in sides])
        else:
            for side, row in sides:
                rows.append(row[:-1])
                asks.append([_Ask(k - 1, row[k], i, side) for k in range(common, len(row))])
    _check_room(lm, [prompts[own[0].scenario] for own in asks], rows, 0)
    return rows, asks


@partial(jax.jit, static_argnames=("config", "stacked_adapters"))
def _log_probs(
    config: DecoderConfig,
    params: Params,
    tokens: Array,
    mask: Array,
    position: Array,
    token: Array,
    adapters: Lora | None,
    stacked_adapters: bool,
) -> Array:
    """Log-probabilities ``[B, K]`` (``[S, B, K]``) of ``token [B, K]`` after ``position [B, K]``."""
    probe = residual(config.num_layers - 1)
    # What lies below all adapters of a stack is the same for each of them.
    first = adapters.config.lowest_layer if stacked_adapters else 0
    below = residual(first - 1)
    entering = forward(config, params, tokens, mask, (below,))[below] if first else None

    def one(adapters: Lora | None) -> Array:
        x = forward(config, params, tokens, mask, (probe,), adapters=adapters, first=first, entering=entering)[probe]
        x = jnp.take_along_axis(x, position[..., None], axis=1)
        scores = jax.nn.log_softmax(unembed(config, params, x), axis=-1)
        return jnp.take_along_axis(scores, token[..., None], axis=-1)[..., 0]

    return jax.vmap(one)(adapters) if stacked_adapters else one(adapters)
