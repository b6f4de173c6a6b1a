"""SOO fine-tuning of a language model: all seeds and learning rates in one compiled program over one base."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, init_lora, save_peft, unstack
from soo_jax.checkpoints import Checkpoints, Terminated, check_identity, digest, sigterm_flag
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.config import FinetuneConfig, build_objective, resolve_layer
from soo_jax.llm.records import Pair
from soo_jax.llm.training import (
    Batch,
    Data,
    Member,
    Recipe,
    TrainState,
    final_adapters,
    init_state,
    read_views,
    train,
)
from soo_jax.models.lm import LM
from soo_jax.models.probes import plan
from soo_jax.overlap import Objective
from soo_jax.parallel import replicated, stack_sharding

Progress = Callable[[int, int, dict[str, float]], None]
"""Called between device calls with updates done, updates in all, and the latest metrics (means over members)."""

Encoded = tuple[np.ndarray, np.ndarray]
"""Token ids and mask, each ``[P, T]``."""

CHUNK = 10
"""Updates per device call: how often progress is shown and signals are heeded."""


class MemberName(NamedTuple):
    """What sets one stacked adapter apart."""

    seed: int
    learning_rate: float


@dataclass(frozen=True)
class History:
    """What happened during training.

    Attributes:
      members: seed and learning rate of every stacked adapter.
      values: ``{metric: [U, S]}`` float32; metrics are ``loss``, each term by name (unweighted), ``drift``
        (Frobenius norm of the weight update over that of the adapted weights), ``grad_norm``.
      frozen_at: per adapter the update at which its loss or gradient was not finite (it was kept as it was
        before), or None.
    """

    members: tuple[MemberName, ...]
    values: dict[str, np.ndarray]
    frozen_at: tuple[int | None, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Tidy training rows, one per update and adapter; numbers that are not finite become None."""
        rate_matters = len({m.learning_rate for m in self.members}) > 1
        rows = []
        for s, member in enumerate(self.members):
            for step in range(len(self.values["loss"])):
                row: dict[str, Any] = {"seed": member.seed, "step": step + 1}
                if rate_matters:
                    row["learning_rate"] = member.learning_rate
                for name, values in self.values.items():
                    value = float(values[step, s])
                    row[name] = value if np.isfinite(value) else None
                rows.append(row)
        return rows


def finetune(
    lm: LM,
    pairs: Sequence[Pair],
    config: FinetuneConfig,
    *,
    texts: Sequence[str] = (),
    objective: Objective | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[Lora, History]:
    """Trains one adapter per seed (times learning rate) so that self and other activations come closer.

    Args:
      texts: ordinary texts, needed if ``config.retain`` or a term of your own reads them.
      objective: what is minimised instead of what the settings ask for, put together with ``soo.weighted``. A run that
        is resumed must be given the same.
      checkpoints: folder for training states; written every ``config.checkpoint_every`` updates and on SIGTERM.
        States of an earlier run in there are deleted, unless
      resume: go on from the newest complete state in ``checkpoints``, if there is one; ends with the same
        adapters, to the bit, as a run that was never interrupted.

    Returns:
      The stack of adapters, leading axis S = seeds x learning rates, and the history.

    Raises:
      SooError: no pairs, a layer out of range, texts missing or too long, a checkpoint of other settings.
      Terminated: SIGTERM arrived; the state was saved first.
    """
    config, recipe = _resolve(lm, pairs, config, objective)
    data = make_data(lm, pairs, config, texts, recipe)
    names = tuple(MemberName(seed, rate) for rate in config.rates for seed in config.seeds)
    members = make_members(names, recipe)
    if lm.mesh is not None:
        members = jax.device_put(members, stack_sharding(lm.mesh, len(names)))
        data = jax.device_put(data, replicated(lm.mesh))
    state = init_state(recipe, members)
    saved = None
    if checkpoints is not None:
        saved = Checkpoints(checkpoints, _identity(lm, pairs, texts, config), config.checkpoint_every)
    try:
        if saved is not None:
            if resume:
                state = saved.restore(state) or state
            else:
                saved.clear()
        state = _run(recipe, lm, data, members, state, saved, progress)
    finally:
        if saved is not None:
            saved.close()
    frozen = np.asarray(state.members.frozen_at)
    history = History(
        names,
        {name: np.asarray(value) for name, value in state.history.items()},
        tuple(None if at < 0 else int(at) + 1 for at in frozen),
    )
    return final_adapters(recipe, state), history


def check(
    lm: LM,
    pairs: Sequence[Pair],
    config: FinetuneConfig,
    texts: Sequence[str] = (),
    checkpoints: str | Path | None = None,
) -> None:
    """Raises the SooError that :func:`finetune` would, before anything is trained or written.

    Args:
      checkpoints: the folder of an interrupted run that is to be resumed.
    """
    config, recipe = _resolve(lm, pairs, config)
    sides, text = _tokenise(lm, pairs, config, texts, recipe)
    jax.eval_shape(lambda: init_lora(lm.config, config.lora, jax.random.key(0)))
    if config.terms:
        _try_terms(lm, config, recipe, Batch(*sides[0], *sides[1], *text))
    if checkpoints is not None:
        check_identity(checkpoints, _identity(lm, pairs, texts, config))


def _resolve(
    lm: LM, pairs: Sequence[Pair], config: FinetuneConfig, objective: Objective | None = None
) -> tuple[FinetuneConfig, Recipe]:
    if not pairs:
        raise SooError("pairs: none given; fine-tuning needs at least one")
    config = resolve_layer(config, lm.config.num_layers)
    recipe = make_recipe(lm, len(pairs), config)
    recipe = recipe if objective is None else replace(recipe, objective=objective)
    _check_reach(recipe)
    return config, recipe


def _check_reach(recipe: Recipe) -> None:
    """Raises SooError if all adapted layers lie above everything that the loss reads."""
    read = {probe for probes in recipe.objective.reads.values() for probe in probes}
    need = plan(read, recipe.model.num_layers)
    above = need.depth + need.attention_only
    lowest = min(recipe.lora.layers or (0,))
    if above <= lowest < recipe.model.num_layers:  # what is out of range is refused elsewhere
        raise SooError(
            f"adapter layer {lowest} lies above all that the loss reads (up to layer {above - 1}): nothing would be "
            f"learned; choose adapter layers up to {above - 1}, or all"
        )


def _try_terms(lm: LM, config: FinetuneConfig, recipe: Recipe, batch: Batch) -> None:
    """Traces the objective without computing it: a term of the user's own fails here, not an hour later."""

    def loss(params: Any) -> Array:
        lora = init_lora(lm.config, config.lora, jax.random.key(0))
        return recipe.objective(read_views(recipe, params, batch, lora, None))[0]

    names = ", ".join(config.terms)
    try:
        shape = jax.eval_shape(loss, lm.params).shape
    except SooError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise SooError(f"term {names}: fails on the activations of this model ({reason})") from error
    if shape:
        raise SooError(f"term {names}: gives an array of shape {shape}; a term gives one number")


def make_recipe(lm: LM, pairs: int, config: FinetuneConfig) -> Recipe:
    """The static part of a run; ``config.layer`` must be resolved."""
    micro = config.epochs * -(-pairs // config.batch_size)
    updates = max(1, micro // config.accumulation)
    if config.warmup >= updates:
        raise SooError(f"warmup {config.warmup} leaves nothing of {updates} updates; lower it or train longer")
    return Recipe(
        lm.config,
        config.lora,
        build_objective(config),
        updates,
        config.batch_size,
        config.accumulation,
        config.weight_decay,
        config.clip_norm,
        config.warmup,
        config.schedule,
        config.ema,
        config.remat,
        lm.mesh,
    )


def make_data(lm: LM, pairs: Sequence[Pair], config: FinetuneConfig, texts: Sequence[str], recipe: Recipe) -> Data:
    """Both sides tokenised, on the device, with the unit of drift."""
    sides, text = _tokenise(lm, pairs, config, texts, recipe)
    norm = sum(
        jnp.sum(jnp.square(lm.params["layers"][target]["kernel"].astype(jnp.float32))) for target in config.lora.targets
    )
    return jax.tree.map(jnp.asarray, Data(*sides[0], *sides[1], *text, jnp.sqrt(norm)))


def _tokenise(
    lm: LM, pairs: Sequence[Pair], config: FinetuneConfig, texts: Sequence[str], recipe: Recipe
) -> tuple[list[Encoded], tuple[np.ndarray | None, np.ndarray | None]]:
    """Tokens and mask of the two sides, at one common width, and of the texts (None where no term reads them)."""
    form = (lambda text: lm.as_chat(text)) if config.chat else (lambda text: text)
    sides = [[form(pair.self_text) for pair in pairs], [form(pair.other_text) for pair in pairs]]
    encoded = [lm.encode(side, width=config.pad_to, chat=config.chat) for side in sides]
    width = max(tokens.shape[1] for tokens, _ in encoded)
    if config.pad_to is None:
        encoded = [lm.encode(side, width=width, chat=config.chat) for side in sides]
    needs_text = {"text", "base_text"} & set(recipe.objective.reads)
    if needs_text and not texts:
        raise SooError(
            "a term reads ordinary text, but none was given; pass --texts FILE (JSON lines with a text each)"
        )
    return encoded, lm.encode(texts) if needs_text else (None, None)


def make_members(names: Sequence[MemberName], recipe: Recipe) -> Member:
    """The stacked differences between members."""
    keys = jnp.stack([jax.random.key_data(jax.random.key(name.seed)) for name in names])
    rates = jnp.asarray([name.learning_rate for name in names], jnp.float32)
    objective = recipe.objective
    weights = {
        name: jnp.full(len(names), weight, jnp.float32)
        for name, weight in zip(objective.names, objective.weights, strict=True)
    }
    return Member(keys, rates, weights)


def _run(
    recipe: Recipe,
    lm: LM,
    data: Data,
    members: Member,
    state: TrainState,
    saved: Checkpoints | None,
    progress: Progress | None,
) -> TrainState:
    step = int(state.step)
    with sigterm_flag() as terminated:
        while step < recipe.updates:
            before, count = step, min(CHUNK, recipe.updates - step)
            state = train(recipe, lm.params, data, members, state, jnp.asarray(count))
            step = int(state.step)
            if progress is not None:
                latest = {name: float(np.nanmean(np.asarray(v[step - 1]))) for name, v in state.history.items()}
                progress(step, recipe.updates, latest)
            if saved is not None and (saved.due(step, before) or terminated[0]):
                saved.save(step, state)
            if terminated[0]:
                raise Terminated
    return state


def _identity(lm: LM, pairs: Sequence[Pair], texts: Sequence[str], config: FinetuneConfig) -> dict[str, Any]:
    """What a checkpoint must agree on to be resumed."""
    settings = config.as_dict()
    settings.pop("checkpoint_every")
    return {
        "base": lm.fingerprint,
        "dtype": str(lm.params["embedding"]["embedding"].dtype),
        "pairs": digest([[p.self_text, p.other_text] for p in pairs]),
        "texts": digest(list(texts)),
        **settings,
    }


def save_adapters(folder: str | Path, lm: LM, adapters: Lora, history: History) -> list[Path]:
    """Writes each adapter of a stack as a PEFT folder ``seed-0``, ... (``seed-0-lr-0.001`` if rates differ)."""
    rate_matters = len({m.learning_rate for m in history.members}) > 1
    folders = []
    for member, adapter, frozen in zip(history.members, unstack(adapters), history.frozen_at, strict=True):
        name = f"seed-{member.seed}" + (f"-lr-{member.learning_rate:g}" if rate_matters else "")
        path = Path(folder) / name
        save_peft(path, adapter, lm.name, lm.fingerprint)
        if frozen is not None:
            note = {"frozen_at_update": frozen, "reason": "loss or gradient not finite; this is the state before"}
            write_atomically(path / "frozen.json", json.dumps(note) + "\n")
        folders.append(path)
    return folders
