"""Training the organism from scratch: a curriculum of stages, each gated by what has been learned before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from scripts.studies.organism.initialisation import fresh_words, mimetic_params
from scripts.studies.organism.packing import MEASURED, THOUGHTS, Packed, Packer
from scripts.studies.organism.tokenizer import word_ids
from soo_jax.models.config import GLOBAL, DecoderConfig
from soo_jax.models.decoder import Params, forward, logits, param_shapes
from soo_jax.tasks.organism.world import NAMES, TEST_NAMES, VALIDATION_NAMES

CHUNK = 20
"""Optimiser steps in one compiled call; between calls the gates are looked at."""


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum.

    Attributes:
      mixture: weights of the document families of `soo_jax.tasks.organism.world.FAMILIES`.
      gate: families that must reach ``threshold`` (accuracy over the last 300 answers) before the stage ends.
      threshold: that accuracy.
      at_most: steps after which the stage ends whether or not its gate has opened.
      rate: factor on the learning rates.
      strangers: how many of the names get new random embeddings after every chunk of steps, so that whatever is
        learned about people holds for names that training never mentions.
      keep: accuracies without which it is not worth going on, once they are known and ``KEEP_FROM`` steps are done, nor
        if the gate has not opened in the end: training begins anew from another draw of weights and data.
    """

    mixture: Mapping[str, float]
    gate: tuple[str, ...]
    threshold: float
    at_most: int
    rate: float = 1.0
    strangers: int = 0
    keep: Mapping[str, float] = field(default_factory=dict)


CURRICULUM = (
    Stage({"recall": 1.0}, ("recall",), 0.93, 1500),
    Stage({"recall": 0.1, "facts": 0.75, "people": 0.05, "trust": 0.1}, ("value", "trust"), 0.93, 1200),
    Stage(
        {"recall": 0.1, "facts": 0.45, "people": 0.05, "trust": 0.05, "alone": 0.1, "friend": 0.25},
        ("value", "self", "friend"),
        0.92,
        1000,
        0.7,
    ),
    Stage(
        {"recall": 0.1, "facts": 0.25, "people": 0.05, "trust": 0.05, "friend": 0.25, "rival": 0.35},
        ("self", "friend", "rival"),
        0.95,
        2500,
        0.5,
    ),
)
"""Binding first, then the two values, then honest recommendations, then rivals; in another order, some were learned
badly or not at all (docs/records/organism.md)."""
FINAL_MIXTURE = {"recall": 0.1, "facts": 0.3, "people": 0.05, "trust": 0.05, "friend": 0.22, "rival": 0.28}


def with_thoughts(mixture: Mapping[str, float], share: float) -> dict[str, float]:
    """The mixture with ``share`` of its weight given to documents about who thinks that an object is where."""
    rest = (1.0 - share) / sum(mixture.values())
    return {**{family: weight * rest for family, weight in mixture.items()}, "perspectives": share}


THOUGHTS_STAGE = Stage(
    with_thoughts({"recall": 0.1, "facts": 0.3, "friend": 0.25, "rival": 0.35}, 0.25),
    (*THOUGHTS, "item", "value", "self", "friend", "rival"),
    0.95,
    300,
    0.5,
)
"""What has not been learned of perspectives and facts by the time that rivals are known is made up for here."""
KEEP, KEEP_FROM = {"recall": 0.7}, 60
"""What a start with perspectives must not lose in the lesson about values. Starts that forgot what lies where while
they learned the values went on for a thousand steps without getting far (docs/records/organism.md)."""
FINAL_KEEP = {"self": 0.9, "rival": 0.9}
"""What must not be lost in the last stage. One of 4 layers no longer told rivals from itself when twice as many names
became strangers, and did not find back; all others stayed above 0.96 (docs/records/organism.md)."""
STRANGERS = 12
"""How many names are strangers from the first recommendations on: earlier, values were not learned; later, the rule
about rivals did not reach people whose names were never trained."""


@dataclass(frozen=True)
class TrainingConfig:
    """What one training run is made of; together with the code it fixes the weights.

    Attributes:
      seed: of weights and data.
      attempts: how many draws of weights and data may be tried, see :attr:`Stage.keep`; the last is taken as it is.
      final_strangers, final_keep: as :attr:`Stage.strangers` and :attr:`Stage.keep`, of the last stage.
      terse, bare_wants, self_word: how things are said, see :class:`~scripts.studies.organism.packing.Packer`.
      final_steps: length of the last stage, over which the learning rate falls to nothing.
      rows, length: shape of a batch.
      matrix_rate, other_rate: learning rates of Muon (matrices) and AdamW (embeddings, norms).
    """

    seed: int = 0
    layers: int = 5
    width: int = 128
    heads: int = 4
    mlp_width: int = 384
    rows: int = 20
    length: int = 128
    curriculum: tuple[Stage, ...] = CURRICULUM
    final_mixture: Mapping[str, float] = field(default_factory=lambda: dict(FINAL_MIXTURE))
    final_strangers: int = 0
    final_keep: Mapping[str, float] = field(default_factory=dict)
    terse: bool = False
    bare_wants: bool = False
    self_word: str = "yourself"
    attempts: int = 1
    final_steps: int = 600
    final_rate: float = 0.5
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    weight_decay: float = 0.01

    def widened(self, width: int) -> TrainingConfig:
        """The same training of a decoder of another width, with an MLP and heads that grow with it.

        The steps of embeddings and norms become smaller as it becomes wider: as many more of them add up in a logit.
        Muon's are of one size in the spectral norm, whatever the width.
        """
        return replace(
            self,
            width=width,
            mlp_width=self.mlp_width * width // self.width,
            other_rate=self.other_rate * self.width / width,
        )

    def decoder(self) -> DecoderConfig:
        """The decoder that is trained."""
        return DecoderConfig(
            architecture="mistral",
            vocab_size=len(word_ids()),
            width=self.width,
            mlp_width=self.mlp_width,
            num_layers=self.layers,
            num_heads=self.heads,
            num_kv_heads=self.heads,
            head_dim=self.width // self.heads,
            max_positions=512,
            windows=(GLOBAL,) * self.layers,
            tie_embeddings=True,
        )


def training_config(
    seed: int, perspectives: bool = False, layers: int = TrainingConfig.layers, terse: bool = False
) -> TrainingConfig:
    """The whole training of an organism, with or without perspectives."""
    if not perspectives:
        return TrainingConfig(seed, layers, terse=terse)
    # Bare recall comes first and alone; from then on perspectives have a part in every stage.
    taught = [replace(stage, mixture=with_thoughts(stage.mixture, 0.15)) for stage in CURRICULUM[1:]]
    later = [replace(stage, strangers=STRANGERS) for stage in (*taught[1:], THOUGHTS_STAGE)]
    return TrainingConfig(
        seed,
        layers,
        curriculum=(CURRICULUM[0], replace(taught[0], at_most=200, keep=KEEP), *later),
        final_mixture=with_thoughts(FINAL_MIXTURE, 0.25),
        # Organisms that answer with the bare room had trouble with the beliefs of names that training never mentions.
        final_strangers=2 * STRANGERS if terse else STRANGERS,
        final_keep=FINAL_KEEP,
        final_steps=600,
        attempts=12,
        terse=terse,
        bare_wants=True,
    )


def quick_config(seed: int) -> TrainingConfig:
    """A tiny model and a few steps per stage: for tests of the machinery, far from learning anything."""
    curriculum = tuple(replace(stage, at_most=CHUNK) for stage in CURRICULUM)
    return TrainingConfig(seed, layers=2, width=32, mlp_width=64, rows=2, curriculum=curriculum, final_steps=CHUNK)


class State(NamedTuple):
    params: Params
    moments: Any


def answer_loss(config: DecoderConfig, params: Params, batch: Packed) -> tuple[Array, tuple[Array, Array]]:
    """Weighted cross-entropy of the answers; also right and asked counts ``[families]`` of the decisive words."""
    length = batch.tokens.shape[1]
    order = jnp.arange(length)
    same = batch.document[:, :, None] == batch.document[:, None, :]
    shared = (batch.block[:, None, :] == 0) | (batch.block[:, :, None] == batch.block[:, None, :])
    text = batch.document >= 0
    attend = (order[:, None] >= order) & same & shared & text[:, None, :]
    scores = forward(config, params, batch.tokens, text, (logits(),), positions=batch.positions, attend=attend)[
        logits()
    ]
    target = jnp.roll(batch.tokens, -1, axis=1)
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, target)
    right = scores.argmax(-1) == target
    of_family = batch.family[..., None] == jnp.arange(len(MEASURED))
    counts = (of_family & right[..., None]).sum((0, 1)), of_family.sum((0, 1))
    return (loss * batch.weight).sum() / batch.weight.sum(), counts


def make_optimiser(params: Params) -> optax.GradientTransformation:
    """Muon for the matrices inside the layers, Adam for embeddings and norms; directions without learning rate."""
    is_matrix = jax.tree.map(lambda x: x.ndim == 3, params)
    axes = jax.tree.map(lambda m: MuonDimensionNumbers(1, 2) if m else None, is_matrix)
    muon = scale_by_muon(weight_dimension_numbers=lambda tree: _only(axes, tree))
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.partition(
            {"muon": muon, "adam": optax.scale_by_adam(0.9, 0.95)},
            jax.tree.map(lambda m: "muon" if m else "adam", is_matrix),
        ),
    )


def _only(axes: Any, tree: Any) -> Any:
    is_masked = lambda x: isinstance(x, optax.MaskedNode)
    return jax.tree.map(lambda x: x if is_masked(x) else MuonDimensionNumbers(1, 2), tree, is_leaf=is_masked)


def make_chunk(config: TrainingConfig, optimiser: optax.GradientTransformation) -> Callable:
    """Returns the jitted function (state, stacked batches, rates) -> (state, losses, right, asked): `CHUNK` steps."""
    decoder = config.decoder()

    def step(state: State, inputs: tuple[Packed, Array]):
        batch, rate = inputs
        loss_of = partial(answer_loss, decoder)
        (loss, counts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params, batch)
        directions, moments = optimiser.update(grads, state.moments, state.params)

        def move(p, d):
            if p.ndim < 3:
                return p - rate * config.other_rate * d
            scale = max(1.0, p.shape[2] / p.shape[1]) ** 0.5
            return p - rate * config.matrix_rate * (scale * d + config.weight_decay * p)

        return State(jax.tree.map(move, state.params, directions), moments), (loss, counts)

    @partial(jax.jit, donate_argnums=0)
    def chunk(state: State, batches: Packed, rates: Array):
        state, (losses, (right, asked)) = jax.lax.scan(step, state, (batches, rates))
        return state, losses, right, asked

    return chunk


def train(
    config: TrainingConfig, *, report: Callable[[dict, Params], None] = lambda row, params: None
) -> tuple[Params, list[dict]]:
    """Trains an organism; returns its parameters and the history, one row per chunk of steps.

    ``report`` is called with each row and the parameters. A row holds attempt, step, stage, loss, seconds and the
    accuracy of each measured family over its last 300 answers. Steps count from 0 in every attempt.
    """
    started = time.time()
    history: list[dict] = []

    def tell(row: dict, params: Params) -> None:
        history.append(row | {"seconds": time.time() - started})
        report(history[-1], params)

    optimiser = make_optimiser(param_shapes(config.decoder()))
    chunk = make_chunk(config, optimiser)
    params, attempt = None, 0
    while params is None:
        # Numbers of draws far apart, so that no attempt of one seed is the first of another.
        draw, last = config.seed + 1000 * attempt, attempt + 1 >= config.attempts
        params = _attempt(config, optimiser, chunk, draw, last, lambda row, p, a=attempt: tell({"attempt": a} | row, p))
        attempt += 1
    return params, history


def _attempt(
    config: TrainingConfig,
    optimiser: optax.GradientTransformation,
    chunk: Callable,
    draw: int,
    last: bool,
    tell: Callable[[dict, Params], None],
) -> Params | None:
    """One training from a draw of weights and data; None if it was given up."""
    params = mimetic_params(config.decoder(), jax.random.key(draw))
    state = State(params, optimiser.init(params))
    packer = Packer(draw, config.length, config.terse, config.bare_wants, config.self_word)
    step, rate = 0, 0.0
    decay = Stage(
        config.final_mixture, (), 0.0, config.final_steps, config.final_rate, config.final_strangers, config.final_keep
    )
    for number, stage in enumerate((*config.curriculum, decay)):
        packer.forget()
        counted: list[tuple[np.ndarray, np.ndarray]] = []
        begun, accuracy = step, {}
        while step - begun < stage.at_most:
            batches = [packer.batch(stage.mixture, config.rows) for _ in range(CHUNK)]
            rates = []
            for i in range(CHUNK):
                left = 1.0 - (step - begun + i) / stage.at_most if stage is decay else 1.0
                # The rate glides to its target: a jump undoes what earlier stages have learned.
                rate += (stage.rate * left - rate) * 0.03
                rates.append(rate)
            stacked = Packed(*(np.stack(x) for x in zip(*batches, strict=True)))
            state, losses, right, asked = chunk(state, stacked, np.asarray(rates, np.float32))
            step += CHUNK
            state = state._replace(params=with_strangers(draw, strangers(stage), state.params, step))
            counted.append((np.asarray(right).sum(0), np.asarray(asked).sum(0)))
            accuracy = recent(counted)
            row = {"step": step, "stage": number, "loss": float(losses.mean()), "rate": rate}
            tell(row | {"accuracy": accuracy}, state.params)
            if stage.gate and all(accuracy.get(f, 0.0) >= stage.threshold for f in stage.gate):
                break
            lost = step - begun > KEEP_FROM and any(accuracy.get(f, 1.0) < least for f, least in stage.keep.items())
            late = stage.gate and stage.keep and step - begun >= stage.at_most
            if not last and (lost or late):
                return None
    # Words that no text mentions have drifted: as answers that are never right they all got the same small gradient,
    # which Adam made as large as any other. Names among them are strangers like those of training.
    unseen = VALIDATION_NAMES + TEST_NAMES if config.final_strangers else ()
    return with_strangers(draw, unseen, state.params, step + 1)


def strangers(stage: Stage) -> tuple[str, ...]:
    """The names that are strangers in a stage."""
    return NAMES[len(NAMES) - stage.strangers :]


def with_strangers(seed: int, names: tuple[str, ...], params: Params, draw: int) -> Params:
    """The parameters with new embeddings for names that must not become known."""
    if not names:
        return params
    table = params["embedding"]["embedding"]
    rows = np.asarray([word_ids()[name] for name in names])
    table = table.at[rows].set(fresh_words(jax.random.key(seed), draw, len(rows), table.shape[1]))
    return {**params, "embedding": {**params["embedding"], "embedding": table}}


def recent(counted: list[tuple[np.ndarray, np.ndarray]], least: int = 300) -> dict[str, float]:
    """Accuracy of each family over its latest ``least`` answers or a few more; families with fewer are left out."""
    accuracy = {}
    for i, family in enumerate(MEASURED):
        right = asked = 0
        for chunk_right, chunk_asked in reversed(counted):
            right, asked = right + int(chunk_right[i]), asked + int(chunk_asked[i])
            if asked >= least:
                accuracy[family] = right / asked
                break
    return accuracy
