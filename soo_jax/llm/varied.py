"""What the members of one program differ in: as settings, as forms of their adapters, and as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from soo_jax.adapters import LoraConfig, Member
from soo_jax.adapters.members import RATE, SEED, WEIGHT, varying
from soo_jax.errors import SooError
from soo_jax.llm.config import FinetuneConfig, changed_lora
from soo_jax.llm.training import Static, Varied
from soo_jax.overlap import Objective

FORM = ("rank", "alpha", "rslora")
"""Settings of adapters in which the members of one program may differ."""


def members_of(
    config: FinetuneConfig, objective: Objective, given: bool, members: Sequence[Member] | None
) -> tuple[Member, ...]:
    """The members that are trained, each with all its settings: those that are named, or the seeds and rates.

    Args:
      given: whether the objective is the caller's own, and no setting tells what it reads.

    Raises:
      SooError: none, two that are the same, or a setting that is not one of a member's own.
    """
    shared = _shared_settings(config, objective, given)
    if members is None:
        members = [Member.of({SEED: seed, RATE: rate}) for rate in config.rates for seed in config.seeds]
    found = tuple(_complete(member, shared, objective) for member in members)
    if not found:
        raise SooError("members: none given; fine-tuning needs at least one")
    if len(set(found)) != len(found):
        raise SooError(f"members: two are the same ({', '.join((SEED, *varying(found)))} tell them apart)")
    return found


def _shared_settings(config: FinetuneConfig, objective: Objective, given: bool) -> dict[str, Any]:
    """What all members of a run have in common, flat; what an objective of one's own does not use is left out."""
    settings = config.as_dict()
    lora = settings.pop("lora")
    for name in ("seeds", RATE, "checkpoint_every", "remat", "retain", "overlap_weight", "terms"):
        settings.pop(name)
    if given:
        for name in ("site", "layer", "tokens", "distance", "direction"):
            settings.pop(name)
    for name in [name for name in ("site", "layer") if name in settings]:
        settings[f"trained_{name}"] = settings.pop(name)  # rows about layers have a site and a layer of their own
    lora["adapter_layers"] = lora.pop("layers")
    lora.pop("layers_by_target")
    factors = {WEIGHT + name: weight for name, weight in zip(objective.names, objective.weights, strict=True)}
    return {**settings, **lora, **factors}


def _complete(member: Member, shared: dict[str, Any], objective: Objective) -> Member:
    """A member that was given, with all that it leaves open."""
    own = member.as_dict()
    allowed = {SEED, RATE, *FORM, *(WEIGHT + name for name in objective.names)}
    same = Member.of(shared).as_dict()
    for name, value in own.items():
        if name not in allowed and same.get(name) != value:
            raise SooError(
                f"member setting {name!r}: members of one run may differ in {', '.join(sorted(allowed))}; what else is "
                f"to differ needs a run of its own"
            )
    missing = {SEED, RATE} - set(own)
    if missing:
        raise SooError(f"member {own}: {' and '.join(sorted(missing))} must be given")
    return Member.of({SEED: own[SEED], RATE: own[RATE], **same, **own})


def form_of(member: Member, lora: LoraConfig) -> LoraConfig:
    """The adapter of a member of a run with adapters of ``lora``. Raises SooError for a value of another kind."""
    own = member.as_dict()
    return changed_lora(lora, {name: own[name] for name in FORM if name in own})


def make_varied(members: Sequence[Member], forms: Sequence[LoraConfig], static: Static) -> Varied:
    """What members differ in, as arrays ``[S, ...]``."""
    numbers = lambda values: jnp.asarray(list(values), jnp.float32)
    objective = static.objective
    return Varied(
        key=jnp.stack([jax.random.key_data(jax.random.key(member.seed)) for member in members]),
        learning_rate=numbers(member.get(RATE) for member in members),
        weights={
            name: numbers(member.get(WEIGHT + name, weight) for member in members)
            for name, weight in zip(objective.names, objective.weights, strict=True)
        },
        rank=jnp.asarray([form.rank for form in forms], jnp.int32),
        scale=numbers(form.scale / static.lora.scale for form in forms),
    )
