"""The objective: views of an agent, distances between them, terms, and their weighted sum.

Pure functions over activations; knows no model, no environment and no tokenizer.
"""

import sys
import types
from typing import Any

from soo_jax.overlap.distances import (
    DISTANCES,
    cosine,
    kl,
    kl_batchmean,
    linear_cka,
    log_mse,
    mse,
    normalised_mse,
    relative_mse,
    smooth_l1,
)
from soo_jax.overlap.objective import Objective, weighted
from soo_jax.overlap.terms import DIRECTIONS, Term, anchored, between, language_model, overlap, retain
from soo_jax.overlap.views import View, Views

__all__ = [
    "DIRECTIONS",
    "DISTANCES",
    "Objective",
    "Term",
    "View",
    "Views",
    "anchored",
    "between",
    "cosine",
    "kl",
    "kl_batchmean",
    "language_model",
    "linear_cka",
    "log_mse",
    "mse",
    "normalised_mse",
    "overlap",
    "relative_mse",
    "retain",
    "smooth_l1",
    "weighted",
]


class _CallableModule(types.ModuleType):
    # The facade offers the term as soo_jax.overlap(...), and importing this room binds the same name to the module.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return overlap(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
