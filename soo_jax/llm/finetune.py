"""SOO fine-tuning of a language model: all members (seeds, rates, weights) in one compiled program over one base."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from soo_jax.adapters import LoraConfig, Member, Stack, init_lora
from soo_jax.adapters.lora import common_form
from soo_jax.checkpoints import Checkpoints, check_identity, digest, save_or_leave, stop_signal
from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.llm.config import FinetuneConfig, build_objective, resolve_layer
from soo_jax.llm.fixed import make_data
from soo_jax.llm.history import History, in_order
from soo_jax.llm.training import (
    SERVED,
    Batch,
    Data,
    Inputs,
    Static,
    Tokens,
    TrainState,
    Varied,
    final_adapters,
    init_state,
    read_views,
    train,
)
from soo_jax.llm.varied import form_of, make_varied, members_of
from soo_jax.metrics import Record
from soo_jax.models.config import DecoderConfig
from soo_jax.models.finite import advice, first_not_finite
from soo_jax.models.lm import LM
from soo_jax.models.probes import cheapest_pass
from soo_jax.overlap import Objective
from soo_jax.overlap.content import content
from soo_jax.overlap.views import OTHER, SELF, TEXT, check_served, inputs_of
from soo_jax.parallel import replicated, settled, stack_sharding
from soo_jax.progress import Progress
from soo_jax.tasks.records import Pair

CHUNK = 10
"""Updates per device call: how often progress is shown and signals are heeded."""


@dataclass(frozen=True)
class Prepared:
    """A fine-tuning that nothing stands in the way of: everything checked, every text tokenised once.

    Attributes:
      members: what is trained side by side. forms: the adapter of each.
      inputs: ids and mask of the texts, on the host. identity: what a checkpoint of this run must agree on.
    """

    lm: LM
    config: FinetuneConfig
    static: Static
    members: tuple[Member, ...]
    forms: tuple[LoraConfig, ...]
    inputs: Inputs
    identity: dict[str, Any]


def finetune(
    lm: LM,
    pairs: Sequence[Pair],
    config: FinetuneConfig,
    *,
    texts: Sequence[str] = (),
    objective: Objective | None = None,
    members: Sequence[Member] | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    record: Record | None = None,
) -> tuple[Stack, History]:
    """Trains one adapter per seed (times learning rate) so that self and other activations come closer.

    Args:
      texts: ordinary texts, needed if ``config.retain`` or a term of your own reads them.
      objective: what is minimised instead of what the settings ask for, put together with ``soo.weighted``. A run that
        is resumed must be given the same.
      members: what is trained side by side, in place of the seeds and rates of the config. They may differ in
        ``seed``, ``learning_rate``, the weights of terms (``weight.overlap``), and in ``rank``, ``alpha`` and
        ``rslora`` of their adapters.
      checkpoints: folder for training states; written every ``config.checkpoint_every`` updates and on Ctrl-C and
        SIGTERM. States of an earlier run in there are deleted, unless
      resume: go on from the newest complete state in ``checkpoints``, if there is one; ends with the same
        adapters, to the bit, as a run that was never interrupted.

    Returns:
      The stack of adapters with its members, and the history.

    Raises:
      SooError: no pairs, a layer out of range, texts missing or too long, a checkpoint of other settings.
      Stopped: Ctrl-C or SIGTERM arrived; the state was saved first.
    """
    prepared = prepare(lm, pairs, config, texts=texts, objective=objective, members=members)
    return run_prepared(prepared, checkpoints=checkpoints, resume=resume, progress=progress, record=record)


def prepare(
    lm: LM,
    pairs: Sequence[Pair],
    config: FinetuneConfig,
    *,
    texts: Sequence[str] = (),
    objective: Objective | None = None,
    members: Sequence[Member] | None = None,
) -> Prepared:
    """Raises the SooError that :func:`finetune` would, before anything is trained or written."""
    if not pairs:
        raise SooError("pairs: none given; fine-tuning needs at least one")
    config = resolve_layer(config, lm.config.num_layers)
    given = objective is not None
    objective = build_objective(config) if objective is None else objective
    check_served(objective.reads, SERVED, "fine-tuning of language models")
    chosen = members_of(config, objective, given, members)
    forms = tuple(form_of(member, config.lora) for member in chosen)
    static = make_static(lm.config, len(pairs), config, objective, lm.mesh, forms)
    _check_reach(static)
    inputs = encode_inputs(lm, pairs, config, texts, objective)
    jax.eval_shape(lambda: init_lora(lm.config, config.lora, jax.random.key(0)))
    if given or config.terms:
        _try_terms(lm, static, inputs, objective.names if given else config.terms)
    settings = {name: value for name, value in config.as_dict().items() if name != "checkpoint_every"}
    identity = {
        "base": lm.fingerprint,
        "dtype": lm.dtype,
        "pairs": digest([[p.self_text, p.other_text] for p in pairs]),
        "texts": digest(list(texts)),
        "objective": content(objective),
        **settings,
    }
    if members is not None:
        identity["members"] = [member.as_dict() for member in chosen]
    return Prepared(lm, config, static, chosen, forms, inputs, identity)


def run_prepared(
    prepared: Prepared,
    *,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    record: Record | None = None,
) -> tuple[Stack, History]:
    """Trains what :func:`prepare` has checked; arguments and results as of :func:`finetune`."""
    lm, static = prepared.lm, prepared.static
    static, data = make_data(lm, static, prepared.inputs)
    varied = make_varied(prepared.members, prepared.forms, static)
    if lm.mesh is not None:
        varied = jax.device_put(varied, stack_sharding(lm.mesh, len(prepared.members)))
        data = jax.device_put(data, replicated(lm.mesh))
    state = settled(init_state(static, varied), lm.mesh)
    saved = None
    if checkpoints is not None:
        saved = Checkpoints(checkpoints, prepared.identity, prepared.config.checkpoint_every)
    try:
        if saved is not None:
            if resume:
                state = saved.restore(state) or state
            else:
                saved.clear()
        state = _run(static, lm, data, varied, state, saved, progress, record)
    finally:
        if saved is not None:
            saved.close()
    frozen = tuple(None if at < 0 else int(at) + 1 for at in whole(state.members.frozen_at))
    history = History(prepared.members, {name: whole(value) for name, value in state.history.items()}, frozen)
    if set(frozen) == {1}:
        warnings.warn(_frozen_at_once(lm, prepared.inputs), SooWarning, stacklevel=2)
    trained = final_adapters(static, state).times(varied.scale)
    return Stack(trained, prepared.members, frozen, prepared.forms), history


def _frozen_at_once(lm: LM, inputs: Inputs) -> str:
    """Says why nothing could be trained: most often the base overflows."""
    tokens, mask = (part[:8] for part in inputs[SELF])
    where = first_not_finite(lm, tokens, mask)
    cause = advice(lm, where) if where else "the loss or its gradient was not finite from the first update on"
    return f"fine-tuning: nothing was learned, every adapter is as it began: {cause}"


def check_resumable(folder: str | Path, prepared: Prepared) -> None:
    """Raises SooError where the checkpoints in ``folder`` are those of another run."""
    check_identity(folder, prepared.identity)


def _check_reach(static: Static) -> None:
    """Raises SooError if all adapted layers lie above everything that the loss reads."""
    read = {probe for probes in static.objective.reads.values() for probe in probes}
    need = cheapest_pass(read, static.model.num_layers)
    above = need.depth + need.attention_only
    lowest = static.lora.lowest_layer
    if above <= lowest < static.model.num_layers:  # what is out of range is refused elsewhere
        raise SooError(
            f"adapter layer {lowest} lies above all that the loss reads (up to layer {above - 1}): nothing would be "
            f"learned; choose adapter layers up to {above - 1}, or all"
        )


def _try_terms(lm: LM, static: Static, inputs: Inputs, own: Sequence[str]) -> None:
    """Traces the objective without computing it: a term of the user's own fails here, not an hour later."""

    def loss(params: Any) -> Array:
        lora = init_lora(lm.config, static.lora, jax.random.key(0))
        return static.objective(read_views(static, params, Batch(inputs), lora, None))[0]

    names = ", ".join(own)
    try:
        shape = jax.eval_shape(loss, lm.params).shape
    except SooError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise SooError(f"term {names}: fails on the activations of this model ({reason})") from error
    if shape:
        raise SooError(f"term {names}: gives an array of shape {shape}; a term gives one number")


def make_static(
    model: DecoderConfig,
    pairs: int,
    config: FinetuneConfig,
    objective: Objective,
    mesh: Mesh | None = None,
    forms: Sequence[LoraConfig] = (),
) -> Static:
    """The static part of a run of adapters of ``forms`` (unless given, that of ``config``); ``config.layer`` must be
    resolved."""
    forms = forms or (config.lora,)
    micro = config.epochs * -(-pairs // config.batch_size)
    updates = max(1, micro // config.accumulation)
    if config.warmup >= updates:
        raise SooError(f"warmup {config.warmup} leaves nothing of {updates} updates; lower it or train longer")
    return Static(
        model,
        common_form(forms, model.num_layers),
        objective,
        updates,
        config.batch_size,
        config.accumulation,
        config.weight_decay,
        config.clip_norm,
        config.warmup,
        config.schedule,
        config.ema,
        config.remat,
        mesh,
        ranks=tuple(sorted({form.rank for form in forms})),
    )


def encode_inputs(
    lm: LM, pairs: Sequence[Pair], config: FinetuneConfig, texts: Sequence[str], objective: Objective
) -> dict[str, Tokens]:
    """Tokens and mask of the two sides, at one common width, and of the ordinary texts where a term reads them."""
    sides = [*(pair.self_text for pair in pairs), *(pair.other_text for pair in pairs)]
    both = [lm.put(text, config.chat, config.lead) for text in sides]
    tokens, mask = lm.encode(both, width=config.pad_to, chat=config.chat)
    half = len(pairs)
    inputs = {SELF: Tokens(tokens[:half], mask[:half]), OTHER: Tokens(tokens[half:], mask[half:])}
    if TEXT in map(inputs_of, objective.reads):
        if not texts:
            raise SooError(
                "a term reads ordinary text, but none was given; pass --texts FILE (JSON lines with a text each)"
            )
        inputs[TEXT] = Tokens(*lm.encode(texts))
    return inputs


# ---- the loop -----------------------------------------------------------------------------------------------------


def _run(
    static: Static,
    lm: LM,
    data: Data,
    varied: Varied,
    state: TrainState,
    saved: Checkpoints | None,
    progress: Progress | None,
    record: Record | None,
) -> TrainState:
    step = int(state.step)
    if record is not None and step:
        record(step, _known(state))
    with stop_signal() as stop:
        while step < static.updates:
            before, count = step, min(CHUNK, static.updates - step)
            state = train(static, lm.params, data, varied, state, jnp.asarray(count))
            step = int(state.step)
            if progress is not None or record is not None:
                known = _known(state)
                if record is not None:
                    record(step, known)
                if progress is not None:
                    progress(step, static.updates, {name: _mean(v[step - 1]) for name, v in known.items()})
            stop.agree()
            save_or_leave(saved, stop, step, before, state)
    return state


def _known(state: TrainState) -> dict[str, np.ndarray]:
    return {name: whole(state.history[name]) for name in in_order(state.history)}


def _mean(values: np.ndarray) -> float:
    """Mean of what is finite; nan where nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
