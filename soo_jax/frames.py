"""Runs as pandas tables: one row for each row of a result file, for whoever groups, joins and plots in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soo_jax.errors import SooError
from soo_jax.tidy import TABLES

if TYPE_CHECKING:
    from soo_jax.runs import Run

PARTS = (*TABLES, "responses")
"""The parts of a run: the tables of ``results.json``, and every answer."""


def frame(run: Run, part: str = "rows") -> Any:
    """A part of a run as a ``pandas.DataFrame``; of a run that has no such part, an empty one.

    Columns are the fields of docs/data.md. Seeds are whole numbers that may be missing (the model as it is has none).

    Args:
      part: ``rows`` (rates of deception, or measures of agents), ``latent``, ``training``, ``layers``, ``drift`` or
        ``responses``.

    Raises:
      SooError: an unknown part, or pandas is not installed.
    """
    if part not in PARTS:
        raise SooError(f"part {part!r} is unknown; a run has {', '.join(PARTS)}")
    try:
        import pandas
    except ImportError as error:
        raise SooError("tables need pandas, which is not installed: pip install 'soo-jax[pandas]'") from error
    rows = run.responses if part == "responses" else run.results.get(part, [])
    table = pandas.DataFrame(rows)
    if "seed" in table:
        table["seed"] = table["seed"].astype("Int64")
    return table
