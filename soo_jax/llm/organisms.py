"""Organisms made of real models: a base that is fetched, and an adapter that ships with the library."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from soo_jax.adapters import load_peft, merge
from soo_jax.adapters.peft import WEIGHTS
from soo_jax.models import lm as models
from soo_jax.models.config import DecoderConfig
from soo_jax.models.lm import LM
from soo_jax.models.loading import parse_dtype
from soo_jax.models.weights import quantise


class Shipped(NamedTuple):
    """An organism: the name under which its base is fetched, the folder of its adapter beside this file, and the task
    pack in whose wordings it was taught."""

    base: str
    folder: str
    tasks: str

    @property
    def adapter(self) -> Path:
        """The PEFT folder, with a card."""
        return Path(__file__).parent / self.folder


SMOLLM2_ORGANISM = "smollm2-organism"
ORGANISMS = {SMOLLM2_ORGANISM: Shipped("smollm2", "smollm2_organism", "narrow")}
"""The organisms by the names under which they are loaded."""


def config_of(model: str | Path) -> DecoderConfig:
    """The config of what :func:`load` would load, without its weights. Raises SooError as that."""
    shipped = ORGANISMS.get(str(model))
    return models.config_of(model if shipped is None or Path(model).exists() else shipped.base)


def load(model: str | Path, dtype: str = "auto", mesh: Mesh | None = None) -> LM:
    """Loads a Hugging Face folder, a GGUF file, a model of the Hub, or an organism of this library.

    Args:
      model: a path, ``org/name`` or ``org/name@revision`` on the Hub, ``organism`` (packaged whole), or
        ``smollm2-organism`` or a small pretrained model such as ``smollm2`` (fetched into the user's cache at first);
        a path always wins.
      dtype: ``float32``, ``bfloat16``, ``float16``, ``stored``, or ``auto`` (as stored, but float32 on a CPU with
        memory for it); ``nf4`` or ``int8``, with or without ``:`` and one of those for what is not quantised.
      mesh: devices to shard the weights over; each is read straight into its shards.

    Raises:
      SooError: whatever is wrong with the model, in one line.
    """
    shipped = ORGANISMS.get(str(model))
    if shipped is None or Path(model).exists():
        return models.load(model, dtype, mesh)
    scheme, wide = parse_dtype(dtype)
    base = models.load(shipped.base, wide, mesh)
    lora = load_peft(shipped.adapter, base.config, base.fingerprint).lora
    own = hashlib.sha256(base.fingerprint.encode() + (shipped.adapter / WEIGHTS).read_bytes()).hexdigest()[:32]
    params = merge(base.params, lora)
    return replace(base.with_params(quantise(params, scheme) if scheme else params, own), called=str(model))
