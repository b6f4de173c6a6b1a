"""Latent overlap: the distance between self and other activations, layer by layer and site by site."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, Member, Stack
from soo_jax.adapters.members import SEED, columns
from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward
from soo_jax.models.finite import advice, first_not_finite
from soo_jax.models.lm import LM
from soo_jax.models.probes import SITES, Probe
from soo_jax.overlap.distances import mse, relative_mse
from soo_jax.overlap.pooling import pooled
from soo_jax.tasks.records import Pair
from soo_jax.tidy import finite_row

BATCH = 64
"""Pairs in one device call."""


def latent_overlap(
    lm: LM,
    pairs: Sequence[Pair],
    *,
    adapters: Stack | Lora | Iterable[Lora] | None = None,
    members: Sequence[Member] | None = None,
    condition: str | None = None,
    sites: Sequence[str] = SITES,
    tokens: str = "last",
    chat: bool = False,
) -> list[dict[str, Any]]:
    """Self/other distance at every layer, for the base model or each adapter of a stack.

    Args:
      pairs: probe pairs, held out from training.
      tokens: ``last`` or ``mean`` token of each text.

    Returns:
      Rows ``{condition, seed, site, layer, mse, normalised}``, and what else sets the adapters apart; a distance that
      is not finite is None, and a warning says at which layer it begins. ``normalised`` is the MSE over the mean
      square of both sides: the variance across pairs would not do, for early layers hardly tell last tokens apart.

    Raises:
      SooError: no pairs, an unknown site, a text beyond the context.
    """
    _check_settings(pairs, tokens)
    unknown = sorted(set(sites) - set(SITES))
    if unknown:
        raise SooError(f"site {unknown[0]!r} is unknown; choose {', '.join(SITES)}")
    stack = None if adapters is None else Stack.of(adapters, members, lm.config)
    own = [{SEED: None}] if stack is None else columns(stack.members)
    condition = condition or ("base" if stack is None else "soo")
    sides = []
    for texts in ([p.self_text for p in pairs], [p.other_text for p in pairs]):
        texts = [lm.put(text, chat) for text in texts]
        parts: dict[str, list[np.ndarray]] = {site: [] for site in sites}
        for start in range(0, len(texts), BATCH):
            read = _activations(
                lm.config,
                lm.params,
                *lm.encode(texts[start : start + BATCH], chat=chat),
                tuple(sites),
                tokens,
                None if stack is None else stack.lora,
                stack is not None,
            )
            for site in sites:
                value = whole(read[site]).astype(np.float32)
                parts[site].append(value[None] if stack is None else value)
        sides.append({site: jnp.asarray(np.concatenate(chunks, axis=2)) for site, chunks in parts.items()})
    rows = []
    for site in sites:
        raw, relative = _distances(sides[0][site], sides[1][site])
        for s, differing in enumerate(own):
            for layer in range(lm.config.num_layers):
                row = {"condition": condition, **differing, "site": site, "layer": layer}
                rows.append(finite_row({**row, "mse": float(raw[s, layer]), "normalised": float(relative[s, layer])}))
    if any(row["mse"] is None for row in rows):
        _tell_not_finite(lm, pairs, chat, rows, stack)
    return rows


def _tell_not_finite(
    lm: LM, pairs: Sequence[Pair], chat: bool, rows: Sequence[dict[str, Any]], stack: Stack | None
) -> None:
    """Warns once, with the layer at which the first of these numbers stops being finite."""
    bad = next(i for i, row in enumerate(rows) if row["mse"] is None)
    one = None if stack is None else stack[bad // lm.config.num_layers % len(stack)]
    texts = [text for pair in pairs[:BATCH] for text in (pair.self_text, pair.other_text)]
    tokens, mask = lm.encode([lm.put(text, chat) for text in texts], chat=chat)
    missing = sum(row["mse"] is None for row in rows)
    warnings.warn(
        f"{missing} of {len(rows)} distances mean nothing: {advice(lm, first_not_finite(lm, tokens, mask, one))}",
        SooWarning,
        stacklevel=3,
    )


def check_probes(lm: LM, pairs: Sequence[Pair], *, tokens: str = "last", chat: bool = False) -> None:
    """Raises the SooError that :func:`latent_overlap` would, before anything is computed."""
    _check_settings(pairs, tokens)
    for texts in ([p.self_text for p in pairs], [p.other_text for p in pairs]):
        lm.encode([lm.put(text, chat) for text in texts], chat=chat)


def _check_settings(pairs: Sequence[Pair], tokens: str) -> None:
    if not pairs:
        raise SooError("pairs: none given; latent overlap needs at least one")
    if tokens not in ("last", "mean"):
        raise SooError(f"tokens {tokens!r}: latent overlap reads last or mean")


@partial(jax.jit, static_argnames=("config", "sites", "tokens", "stacked_adapters"))
def _activations(
    config: DecoderConfig,
    params: Params,
    ids: Array,
    mask: Array,
    sites: tuple[str, ...],
    tokens: str,
    adapters: Lora | None,
    stacked_adapters: bool,
) -> dict[str, Array]:
    """Pooled activations ``{site: [L, P, D]}`` (``[S, L, P, D]``)."""
    probes = {site: Probe(site, "all") for site in sites}

    def one(adapters: Lora | None) -> dict[str, Array]:
        read = forward(config, params, ids, mask, tuple(probes.values()), adapters=adapters)
        return {site: pooled(read[p], mask, read[p], mask, tokens)[0] for site, p in probes.items()}

    return jax.vmap(one)(adapters) if stacked_adapters else one(adapters)


@jax.jit
def _distances(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Raw and normalised distance ``[S, L]`` of sides ``[S, L, P, D]``."""
    mask = jnp.ones(ours.shape[2], bool)
    every = lambda distance: jax.vmap(jax.vmap(lambda x, y: distance(x, y, mask)))(ours, theirs)
    return every(mse), every(relative_mse)
