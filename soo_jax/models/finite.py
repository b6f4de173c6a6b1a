"""Where activations stop being finite: float16 overflows above 65,504, and a broken adapter can do worse."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Adapters, Params, forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import SITES, Probe


def first_not_finite(lm: LM, tokens: Array, mask: Array, adapters: Adapters | None = None) -> str | None:
    """The layer and site at which a number of these texts is no longer finite: ``layer 3 (mlp_out)``; None if all are.

    Args:
      tokens, mask: ``[B, T]``; one row is enough, for everything that a layer puts out is looked at.
    """
    finite = {site: value.tolist() for site, value in _finite(lm.config, lm.params, tokens, mask, adapters).items()}
    for layer in range(lm.config.num_layers):
        for site in SITES:
            if not finite[site][layer]:
                return f"layer {layer} ({site})"
    return None if finite["logits"] else "the logits"


@partial(jax.jit, static_argnames="config")
def _finite(
    config: DecoderConfig, params: Params, tokens: Array, mask: Array, adapters: Adapters | None
) -> dict[str, Array]:
    """Whether all numbers at text positions are finite: ``{site: [L], "logits": []}``."""
    probes = {site: Probe(site, "all") for site in SITES} | {"logits": Probe("logits")}
    read = forward(config, params, tokens, mask, tuple(probes.values()), adapters=adapters)
    text = mask[:, :, None]
    return {site: jnp.all(jnp.isfinite(read[probe]) | ~text, axis=(-3, -2, -1)) for site, probe in probes.items()}


def advice(lm: LM, where: str | None) -> str:
    """What is to be done about it, in the words of a message."""
    dtype = str(lm.params["embedding"]["embedding"].dtype)
    place = f"from {where} on" if where else "somewhere"
    if dtype == "float32":
        return f"activations are not finite {place}, in float32: weights or adapter are broken"
    return f"activations are not finite {place}, in {dtype}; load the model with --dtype float32" + (
        " or bfloat16" if dtype == "float16" else ""
    )
