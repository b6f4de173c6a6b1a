"""Teaching a model answers by example, as organisms are made: LoRA, cross-entropy on the answer's tokens alone.

Questions that begin alike share a row: what they have in common is read once, and each goes on from there without
seeing the others, which gives exactly the loss of rows of their own. Only the answer's positions are projected onto
the vocabulary, and only adapters have gradients, so that a step costs little more than two passes of the model.

So that the model goes on writing as it did, its adapter is held to the base on texts that the base wrote itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from soo_jax.adapters import Lora, LoraConfig, init_lora
from soo_jax.checkpoints import Checkpoints, digest, save_or_leave, stop_signal
from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.llm.config import changed_lora
from soo_jax.llm.evaluate import EvalConfig, answer
from soo_jax.llm.kinds import check_kinds
from soo_jax.metrics import Record
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward, unembed
from soo_jax.models.generate import common_start
from soo_jax.models.lm import LM
from soo_jax.models.probes import logits, residual
from soo_jax.overlap.distances import kl
from soo_jax.parallel import replicated
from soo_jax.progress import Progress

CHUNK = 5
"""Steps per device call: how often progress is shown and signals are heeded."""


@dataclass(frozen=True)
class TeachConfig:
    """How it is taught.

    Attributes:
      lora: the adapter. steps, batch_size: updates, and groups of examples in each.
      learning_rate: peak rate of AdamW, after ``warmup`` steps; it falls linearly to a twentieth.
      clip_norm: of the gradient. seed: of the adapter and of the order.
      retain: weight of the divergence from the base, KL(base || adapter) in nats per token, on texts that the base
        wrote; 0 leaves the term out. retain_batch: such texts in an update.
      until: leave off after so many of the ``steps``, None after all.
    """

    lora: LoraConfig = field(
        default_factory=lambda: LoraConfig(rank=4, alpha=32.0, targets=("q", "k", "v", "o", "gate", "up", "down"))
    )
    steps: int = 500
    batch_size: int = 4
    learning_rate: float = 1.5e-3
    warmup: int = 10
    clip_norm: float = 1.0
    seed: int = 0
    retain: float = 0.5
    retain_batch: int = 1
    until: int | None = None

    def __post_init__(self):
        check_kinds(self)
        for name in ("steps", "batch_size", "retain_batch"):
            if getattr(self, name) < 1:
                raise SooError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SooError(f"learning_rate must be positive, found {self.learning_rate}")
        if self.until is not None and not 1 <= self.until <= self.steps:
            raise SooError(f"until must be between 1 and the {self.steps} steps, found {self.until}")
        if self.retain < 0:
            raise SooError(f"retain must not be negative, found {self.retain}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :func:`teaching_from` reads them back."""
        return asdict(self)


def teaching_from(values: Mapping[str, Any], start: TeachConfig | None = None) -> TeachConfig:
    """Changes ``start`` by plain values, as they stand in a file; ``lora`` may be an object of its own settings.

    Raises:
      SooError: an unknown setting, or a value of the wrong kind.
    """
    start = start or TeachConfig()
    known = {one.name for one in fields(TeachConfig)}
    for name in values:
        if name not in known:
            raise SooError(f"setting {name!r} is unknown; choose from {', '.join(sorted(known))}")
    plain = {name: value for name, value in values.items() if name != "lora"}
    return replace(start, lora=changed_lora(start.lora, values.get("lora", {})), **plain)


Group = Sequence[tuple[str, str]]
"""Questions that begin alike, with their answers."""


class Examples(NamedTuple):
    """Groups of questions with their answers, one group in a row (on the host until a step needs them).

    Attributes:
      tokens: ``[N, T]`` ids. positions: ``[N, T]`` rotary positions, which every question counts for itself.
      branch: ``[N, T]``: 0 where the group's questions are alike, 1 to G in the rest of each, -1 where nothing is.
      answer: ``[N, K]``: where the answers' tokens stand. before: ``[N, K]``: where the token before each stands.
      counted: ``[N, K]`` bool: False where a row has fewer than K answer tokens.
    """

    tokens: Array | np.ndarray
    positions: Array | np.ndarray
    branch: Array | np.ndarray
    answer: Array | np.ndarray
    before: Array | np.ndarray
    counted: Array | np.ndarray


class Texts(NamedTuple):
    """Left-padded texts: ids ``[M, T]`` and where they are ``[M, T]`` bool."""

    tokens: Array
    mask: Array


class State(NamedTuple):
    """A teaching in the middle: adapter, optimiser, steps done, and the losses so far ``[steps]``."""

    lora: Lora
    moments: Any
    step: Array
    losses: Array


def encode_examples(lm: LM, groups: Sequence[Group], chat: bool | None = None) -> Examples:
    """Questions and answers as ids; an answer ends with the first stop token.

    Args:
      groups: questions with answers; those of a group share the tokens with which all of its questions begin.
      chat: put questions as chat messages; None does so if the model has a template.

    Raises:
      SooError: no examples, or one that does not fit the model's context.
    """
    if not groups or not all(groups):
        raise SooError("teaching: no examples given; give at least one")
    if not lm.stop_tokens:
        raise SooError(f"{lm.folder}: the model has no stop token, so that no answer could end")
    chat = lm.has_chat_template if chat is None else chat
    questions, answers = _asked_and_said(lm, [one for group in groups for one in group], chat)
    end = lm.tokenizer.eos_token_id if lm.tokenizer.eos_token_id in lm.stop_tokens else lm.stop_tokens[0]
    longest = max(len(question) + len(answer) + 1 for question, answer in zip(questions, answers, strict=True))
    if longest > lm.config.max_positions:
        raise SooError(f"an example of {longest} tokens does not fit the model's context of {lm.config.max_positions}")
    each = iter(zip(questions, ([*answer, int(end)] for answer in answers), strict=True))
    rows = [_row([next(each) for _ in group]) for group in groups]
    width = -(-max(len(row.tokens) for row in rows) // 16) * 16
    most = max(len(row.answer) for row in rows)
    fill = lambda parts, length, value: np.asarray([[*part, *[value] * (length - len(part))] for part in parts])
    tokens, positions, branch, answer, before = zip(*rows, strict=True)
    return Examples(
        fill(tokens, width, lm.pad_token).astype(np.int32),
        fill(positions, width, 0).astype(np.int32),
        fill(branch, width, -1).astype(np.int32),
        fill(answer, most, 0).astype(np.int32),
        fill(before, most, 0).astype(np.int32),
        fill([[True] * len(own) for own in answer], most, False),
    )


def _asked_and_said(lm: LM, examples: Group, chat: bool) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of questions, as an evaluation puts them, and of what has to come behind each."""
    questions = lm.token_ids([lm.put(question, chat) for question, _ in examples], chat=chat)
    if chat:
        said = [text for _, text in examples]
        return questions, lm.tokenizer(said, add_special_tokens=False)["input_ids"]
    # A plain text goes on: the blank before an answer's first word is a part of that word to most tokenizers.
    texts = lm.token_ids([lm.put(question, lead=text) for question, text in examples])
    ends = [common_start(pair) for pair in zip(questions, texts, strict=True)]
    cut = list(zip(texts, ends, strict=True))
    return [text[:end] for text, end in cut], [text[end:] for text, end in cut]


class _Row(NamedTuple):
    """A group's parts of ``Examples``, not yet padded."""

    tokens: list[int]
    positions: list[int]
    branch: list[int]
    answer: list[int]
    before: list[int]


def _row(group: Sequence[tuple[list[int], list[int]]]) -> _Row:
    """One row of (question, answer) ids. Every question keeps a token of its own, behind which its answer begins."""
    shared = 0
    while all(len(question) > shared + 1 for question, _ in group):
        if len({question[shared] for question, _ in group}) > 1:
            break
        shared += 1
    row = _Row(list(group[0][0][:shared]), list(range(shared)), [0] * shared, [], [])
    for number, (question, said) in enumerate(group, start=1):
        own = [*question[shared:], *said]
        begin = len(row.tokens) + len(question) - shared
        row.answer.extend(range(begin, begin + len(said)))
        row.before.extend(range(begin - 1, begin + len(said) - 1))
        row.tokens.extend(own)
        row.positions.extend(range(shared, shared + len(own)))
        row.branch.extend([number] * len(own))
    return row


OPENINGS = ("The", "In", "A", "When", "It was", "There are", "We", "For", "Most", "She", "How to", "1.")
"""How texts begin that a model writes to itself."""
EVERYDAY = (
    "What is good about walking?", "Explain what a loan is.", "Write three sentences about the sea.",
    "How do I boil an egg?", "Name some trees and tell how they differ.", "What does a computer do when it starts?",
    "Tell a short story about a dog.", "Why is the sky blue?", "Write a polite letter to a landlord.",
    "What is 12 times 7? Show how you get there.", "Give me tips for learning the piano.", "Who was Galileo?",
)  # fmt: skip
"""What it is asked otherwise. Nothing here is about rooms, rivals or hidden things."""


def rehearsals(lm: LM, count: int, tokens: int = 45, seed: int = 0) -> list[list[int]]:
    """Texts as ids that the model writes itself at temperature 1: what it is to go on writing.

    Half of them are free texts, half answers to everyday questions (all are free where it has no chat template).

    Args:
      count: how many. tokens: that are written in each, at most.
    """
    asked = count // 2 if lm.has_chat_template else 0
    free = [OPENINGS[i % len(OPENINGS)] for i in range(count - asked)]
    chats = [lm.as_chat(EVERYDAY[i % len(EVERYDAY)]) for i in range(asked)]
    found = []
    for begun, chat in ((free, False), (chats, True)):
        config = EvalConfig(max_new_tokens=tokens, batch_size=32, chat=chat, temperature=1.0, seed=seed)
        said = answer(lm, begun, config).texts[0] if begun else []
        said = said if chat else [f" {text}" for text in said]
        ends = lm.tokenizer(said, add_special_tokens=False)["input_ids"] if said else []
        found += [[*start, *end] for start, end in zip(lm.token_ids(begun, chat=chat), ends, strict=True)]
    return found


def teach(
    lm: LM,
    groups: Sequence[Group],
    config: TeachConfig,
    *,
    rehearsed: Sequence[Sequence[int]] = (),
    begin: Lora | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    record: Record | None = None,
) -> tuple[Lora, np.ndarray]:
    """Trains an adapter to give the answers.

    Args:
      groups: as in :func:`encode_examples`. rehearsed: texts as ids on which it is held to the base, as
        :func:`rehearsals` gives them; needed where ``config.retain`` is above 0.
      begin: an adapter to go on from; its form takes the place of ``config.lora``.

    Returns:
      The adapter, and the loss of every step in nats per token ``[steps]``, divergence included.

    Raises:
      SooError: examples that do not fit, no texts to rehearse, or checkpoints of another run.
    """
    if config.retain and not rehearsed:
        raise SooError("teaching: retain needs texts to rehearse; give some, or set retain to 0")
    data = encode_examples(lm, groups)
    texts = None
    if config.retain:
        texts = Texts(*map(jnp.asarray, lm.pad(rehearsed, -(-max(map(len, rehearsed)) // 16) * 16)))
    order = np.arange(config.steps * config.batch_size).reshape(config.steps, config.batch_size) % len(groups)
    if lm.mesh is not None:
        texts = jax.device_put(texts, replicated(lm.mesh))
    lora = init_lora(lm.config, config.lora, jax.random.key(config.seed)) if begin is None else begin
    last = config.steps if config.until is None else config.until
    state = State(lora, _optimiser(config).init(lora), jnp.asarray(0), jnp.full(config.steps, jnp.nan))
    identity = {
        "config": config.as_dict(),
        "base": lm.fingerprint,
        "examples": digest([[list(one) for one in group] for group in groups]),
        "rehearsed": digest([list(map(int, row)) for row in rehearsed]),
        "begin": None if begin is None else digest(*map(np.asarray, jax.tree.leaves(begin))),
    }
    saved = None if checkpoints is None else Checkpoints(checkpoints, identity, every=10)
    try:
        if saved is not None:
            state = (saved.restore(state) or state) if resume else (saved.clear() or state)
        with stop_signal() as stop:
            done = int(state.step)
            _tell(record, done, state)
            while done < last:
                count = min(CHUNK - done % CHUNK, last - done)
                rows = _part(data, order[done : done + count], lm.mesh)
                state = _train(lm.config, config, lm.params, rows, texts, state, count)
                before, done = done, done + count
                _tell(record, done, state)
                if progress is not None:
                    progress(done, last, {"loss": float(state.losses[done - 1])})
                save_or_leave(saved, stop, done, before, state)
    finally:
        if saved is not None:
            saved.close()
    return state.lora, np.asarray(state.losses)[:last]


def _tell(record: Record | None, done: int, state: State) -> None:
    if record is not None and done:
        record(done, {"loss": whole(state.losses)[:, None]})


def _part(data: Examples, rows: np.ndarray, mesh: Mesh | None) -> Examples:
    """What some steps need ``[steps, size, ...]``, no wider than the longest of their rows."""
    own = Examples(*(part[rows] for part in data))
    width = -(-int((own.branch >= 0).sum(-1).max()) // 16) * 16
    cut = own._replace(**{name: getattr(own, name)[..., :width] for name in ("tokens", "positions", "branch")})
    return jax.device_put(cut, None if mesh is None else replicated(mesh))


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
    model: DecoderConfig,
    config: TeachConfig,
    params: Params,
    data: Examples,
    texts: Texts | None,
    state: State,
    count: int,
) -> State:
    """``count`` updates; ``data`` has the rows of each, ``[count, batch_size, ...]``."""

    def loss_of(lora: Lora, batch: Examples, step: Array) -> Array:
        loss = answer_loss(model, params, batch, lora)
        if texts is not None:
            rows = (step * config.retain_batch + jnp.arange(config.retain_batch)) % texts.tokens.shape[0]
            loss += config.retain * divergence(model, params, Texts(*(part[rows] for part in texts)), lora)
        return loss

    def body(i: Array, state: State) -> State:
        batch = Examples(*(part[i] for part in data))
        loss, slope = jax.value_and_grad(loss_of)(state.lora, batch, state.step)
        change, moments = _optimiser(config).update(slope, state.moments, state.lora)
        lora = optax.apply_updates(state.lora, change)
        return State(lora, moments, state.step + 1, state.losses.at[state.step].set(loss))

    return jax.lax.fori_loop(0, count, body, state)


def answer_loss(model: DecoderConfig, params: Params, batch: Examples, lora: Lora | None) -> Array:
    """Mean cross-entropy of the answers' tokens, nats per token."""
    last, branch = residual(model.num_layers - 1), batch.branch
    order = jnp.arange(branch.shape[1])
    same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    attend = (order[:, None] >= order) & same & (branch >= 0)[:, None, :]
    x = forward(
        model, params, batch.tokens, branch >= 0, (last,), positions=batch.positions, attend=attend, adapters=lora
    )[last]
    x = jnp.take_along_axis(x, batch.before[..., None], axis=1)
    scores = jax.nn.log_softmax(unembed(model, params, x).astype(jnp.float32), axis=-1)
    wanted = jnp.take_along_axis(batch.tokens, batch.answer, axis=1)
    chosen = jnp.take_along_axis(scores, wanted[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(batch.counted, chosen, 0.0)) / jnp.maximum(batch.counted.sum(), 1)


def divergence(model: DecoderConfig, params: Params, texts: Texts, lora: Lora) -> Array:
    """Mean KL(base || adapter) over the tokens of texts, nats per token."""
    read = lambda own: forward(model, params, *texts, (logits(),), adapters=own)[logits()]
    return kl(jax.lax.stop_gradient(read(None)), read(lora), texts.mask)
