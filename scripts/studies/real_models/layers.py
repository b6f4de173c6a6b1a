"""Where a chat model decides, layer by layer: the library's diagnosis on pairs of whole scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from soo_jax.llm.diagnose import Contrasts, constant, patch
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.lm import LM
from soo_jax.tasks.records import Pair


def deciding_places(lm: LM, pairs: Sequence[Pair], rooms: Sequence[tuple[str, str]], lead: str) -> list[dict[str, Any]]:
    """One row per layer: the gap between the sides of pairs, how much of it is constant, and what patching flips.

    Args:
      pairs: questions of a user. rooms: of each pair the room that is true and the one that deceives.
      lead: how an answer begins; rooms are told apart behind it.

    Returns:
      Rows of ``layer``, ``relative_gap`` (attention output, last token), ``constant``, ``patch_recipient``,
      ``patch_answer``, ``patch_attention``.
    """
    texts = [Pair(*(f"{lm.as_chat(side)}{lead}" for side in (pair.self_text, pair.other_text))) for pair in pairs]
    before = lm.token_ids([text.self_text for text in texts], chat=True)
    first = lambda text, room, n: lm.token_ids([f"{text} {room}"], chat=True)[0][n]
    ids = [
        [first(text.self_text, room, len(row)) for room in own]
        for text, own, row in zip(texts, rooms, before, strict=True)
    ]
    kept = [i for i, (right, wrong) in enumerate(ids) if right != wrong]
    right, wrong = ([ids[i][k] for i in kept] for k in (0, 1))
    contrasts = Contrasts.of(lm, [texts[i] for i in kept], right, wrong, chat=True)
    gaps = {
        row["layer"]: row["normalised"]
        for row in latent_overlap(lm, [pairs[i] for i in kept], chat=True)
        if row["site"] == "attn_out"
    }
    same = constant(lm, contrasts)
    patched = {place: patch(lm, contrasts, place) for place in ("recipient", "answer", "attention")}
    jax.clear_caches()
    return [
        {
            "layer": layer,
            "relative_gap": gaps[layer],
            "constant": same[layer],
            **{f"patch_{place}": values[layer] for place, values in patched.items()},
        }
        for layer in range(lm.config.num_layers)
    ]
