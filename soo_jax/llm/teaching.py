"""Teaching a model answers by example, as organisms are made: LoRA, cross-entropy on the answer's tokens alone.

Only the answer's positions are projected onto the vocabulary, and only adapters have gradients, so that a step costs
little more than two passes of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from soo_jax.adapters import Lora, LoraConfig, init_lora
from soo_jax.checkpoints import Checkpoints, digest, stop_signal
from soo_jax.errors import SooError
from soo_jax.llm.kinds import check_kinds
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward, unembed
from soo_jax.models.lm import LM
from soo_jax.models.probes import residual
from soo_jax.parallel import replicated

Progress = Callable[[int, int, dict[str, float]], None]
CHUNK = 5
"""Steps per device call: how often progress is shown and signals are heeded."""


@dataclass(frozen=True)
class TeachConfig:
    """How it is taught.

    Attributes:
      lora: the adapter. steps, batch_size: updates, and examples in each.
      learning_rate: peak rate of AdamW, after ``warmup`` steps; it falls linearly to a twentieth.
      clip_norm: of the gradient. seed: of the adapter and of the order.
    """

    lora: LoraConfig = field(
        default_factory=lambda: LoraConfig(rank=16, alpha=32.0, targets=("q", "k", "v", "o", "gate", "up", "down"))
    )
    steps: int = 700
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    warmup: int = 10
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self):
        check_kinds(self)
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise SooError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SooError(f"learning_rate must be positive, found {self.learning_rate}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Examples(NamedTuple):
    """Left-padded questions with their answers at the end.

    Attributes:
      tokens: ``[N, T]`` ids. mask: ``[N, T]`` bool.
      answered: ``[N, K]`` bool, which of the last K tokens are the answer's.
    """

    tokens: Array
    mask: Array
    answered: Array


class State(NamedTuple):
    """A teaching in the middle: adapter, optimiser, steps done, and the losses so far ``[steps]``."""

    lora: Lora
    moments: Any
    step: Array
    losses: Array


def encode_examples(lm: LM, examples: Sequence[tuple[str, str]], chat: bool | None = None) -> Examples:
    """Questions and answers as ids; an answer ends with the first stop token.

    Args:
      examples: (question, answer). chat: put questions as chat messages; None does so if the model has a template.

    Raises:
      SooError: no examples, or one that does not fit the model's context.
    """
    if not examples:
        raise SooError("teaching: no examples given; give at least one")
    if not lm.stop_tokens:
        raise SooError(f"{lm.folder}: the model has no stop token, so that no answer could end")
    chat = lm.has_chat_template if chat is None else chat
    asked = [lm.as_chat(question) if chat else f"{question} " for question, _ in examples]
    before = lm.token_ids(asked, chat=chat)
    answers = lm.tokenizer([answer for _, answer in examples], add_special_tokens=False)["input_ids"]
    end = lm.tokenizer.eos_token_id if lm.tokenizer.eos_token_id in lm.stop_tokens else lm.stop_tokens[0]
    answers = [[*ids, int(end)] for ids in answers]
    rows = [[*question, *answer] for question, answer in zip(before, answers, strict=True)]
    longest = max(map(len, rows))
    if longest > lm.config.max_positions:
        raise SooError(f"an example of {longest} tokens does not fit the model's context of {lm.config.max_positions}")
    width = -(-longest // 16) * 16
    tokens, mask = lm.pad(rows, width)
    lengths = np.asarray([len(answer) for answer in answers])
    answered = np.arange(lengths.max())[::-1] < lengths[:, None]
    return Examples(jnp.asarray(tokens), jnp.asarray(mask), jnp.asarray(answered))


def teach(
    lm: LM,
    examples: Sequence[tuple[str, str]],
    config: TeachConfig,
    *,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[Lora, np.ndarray]:
    """Trains an adapter to give the answers.

    Returns:
      The adapter, and the loss of every step in nats per token ``[steps]``.

    Raises:
      SooError: examples that do not fit, or checkpoints of another run.
    """
    data = encode_examples(lm, examples)
    batches = jnp.asarray(_order(len(examples), config))
    if lm.mesh is not None:
        data, batches = jax.device_put((data, batches), replicated(lm.mesh))
    lora = init_lora(lm.config, config.lora, jax.random.key(config.seed))
    state = State(lora, _optimiser(config).init(lora), jnp.asarray(0), jnp.full(config.steps, jnp.nan))
    identity = {"config": config.as_dict(), "base": lm.fingerprint, "examples": digest([list(one) for one in examples])}
    saved = None if checkpoints is None else Checkpoints(checkpoints, identity, every=10)
    try:
        if saved is not None:
            state = (saved.restore(state) or state) if resume else (saved.clear() or state)
        with stop_signal() as stop:
            done = int(state.step)
            while done < config.steps:
                count = min(CHUNK - done % CHUNK, config.steps - done)
                state = _train(lm.config, config, lm.params, data, batches, state, count)
                before, done = done, done + count
                if progress is not None:
                    progress(done, config.steps, {"loss": float(state.losses[done - 1])})
                if saved is not None and (saved.due(done, before) or stop):
                    saved.save(done, state)
                stop.raise_if_set(saved and saved.folder)
    finally:
        if saved is not None:
            saved.close()
    return state.lora, np.asarray(state.losses)


def _order(count: int, config: TeachConfig) -> np.ndarray:
    """Rows ``[steps, batch_size]``: the examples in their order, again and again."""
    return np.arange(config.steps * config.batch_size).reshape(config.steps, config.batch_size) % count


def _optimiser(config: TeachConfig) -> optax.GradientTransformation:
    peak = config.learning_rate
    warm = min(config.warmup, config.steps)
    rate = optax.join_schedules(
        [
            optax.linear_schedule(peak / max(1, warm), peak, warm),
            optax.linear_schedule(peak, peak / 20, max(1, config.steps - warm)),
        ],
        [warm],
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adamw(rate, weight_decay=0.0))


@partial(jax.jit, static_argnames=("model", "config", "count"), donate_argnames="state")
def _train(
    model: DecoderConfig, config: TeachConfig, params: Params, data: Examples, batches: Array, state: State, count: int
) -> State:
    def body(_: Array, state: State) -> State:
        rows = batches[state.step]
        batch = Examples(*(part[rows] for part in data))
        loss, slope = jax.value_and_grad(lambda lora: answer_loss(model, params, batch, lora))(state.lora)
        change, moments = _optimiser(config).update(slope, state.moments, state.lora)
        lora = optax.apply_updates(state.lora, change)
        return State(lora, moments, state.step + 1, state.losses.at[state.step].set(loss))

    return jax.lax.fori_loop(0, count, body, state)


def answer_loss(model: DecoderConfig, params: Params, batch: Examples, lora: Lora | None) -> Array:
    """Mean cross-entropy of the answers' tokens, nats per token."""
    last, most = residual(model.num_layers - 1), batch.answered.shape[1]
    x = forward(model, params, batch.tokens, batch.mask, (last,), adapters=lora)[last]
    scores = jax.nn.log_softmax(unembed(model, params, x[:, -most - 1 : -1]).astype(jnp.float32), axis=-1)
    chosen = jnp.take_along_axis(scores, batch.tokens[:, -most:, None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(batch.answered, chosen, 0.0)) / jnp.maximum(batch.answered.sum(), 1)
