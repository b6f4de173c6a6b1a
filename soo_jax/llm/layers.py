"""Where a model decides whom it tells the truth: the measures of ``diagnose`` on whole scenes, and what they advise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.llm.diagnose import PLACES, Contrasts, carried, constant, patch, patch_together
from soo_jax.llm.grid import DAMAGE, FALL, HONEST, NOTHING, RISE
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.decoder import forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import logits
from soo_jax.progress import Progress
from soo_jax.tasks.records import Contrast, Pair

UNCERTAIN = (
    "In eleven organisms no measure predicted well what SOO achieved (best rank correlation 0.63): compare with the "
    "layers beside it, on validation scenarios."
)
BANDS = ("patch_two", "patch_three")
HALF = 0.5
"""Share above which a measure counts as high in the advice."""


@dataclass(frozen=True)
class Diagnosis:
    """What each layer makes of self and other.

    Attributes:
      rows: one per layer: ``layer``; ``gap`` and ``relative_gap`` of the attention output between the sides of the
        probes; ``constant`` and ``carry``; ``patch_PLACE`` for all ``PLACES``; ``patch_two`` and ``patch_three``, the
        attention of this layer and of the one or two before it together (see ``soo_jax.llm.diagnose``).
      scenes: how many were looked at.
      self_right, other_right: share of them in which the model prefers the honest place, by whom it advises.
      apart: share in which it prefers the honest place for itself and the other one for the rival.
    """

    rows: list[dict[str, Any]]
    scenes: int
    self_right: float
    other_right: float
    apart: float

    @property
    def advice(self) -> str:
        """What to try first, with its reason, and how far to trust it."""
        told = (
            f"It advises itself rightly in {self.self_right:.0%} of {self.scenes} scenes, and a rival in "
            f"{self.other_right:.0%}."
        )
        if self.apart < HALF:
            return (
                f"{told} In {self.apart:.0%} the two answers differ in the right way: there is no difference for SOO "
                "to close. A layer chosen from this table would be chosen by chance."
            )
        deciding = [row for row in self.rows if row["patch_attention"] >= HALF]
        saying = [row for row in deciding if row["constant"] >= HALF]
        if not saying and (band := self._band()):
            return f"{told} {band} {UNCERTAIN}"
        if not deciding:
            best = max(self.rows, key=lambda row: row["patch_attention"])
            return (
                f"{told} No layer's attention decides alone: patched from the self side, the best one (layer "
                f"{best['layer']}) makes {best['patch_attention']:.0%} of the answers right. Try SOO at several layers "
                "at once, with whole scenes as pairs."
            )
        row = (saying or deciding)[-1]
        same = (
            " and whose difference is the same in most scenes, so that it says for whom the answer is"
            if saying
            else ", but its difference changes from scene to scene, as in a layer that has fetched the place already"
        )
        pairs = (
            "The fragments show that difference: try them, with the adapter in that layer alone."
            if row["carry"] >= HALF and row["constant"] >= HALF
            else "Try whole scenes as pairs (--pairs scenes --direction anchored) on all projections of that layer."
        )
        return (
            f"{told} Layer {row['layer']} is the last whose attention decides (taken from the self side, it makes "
            f"{row['patch_attention']:.0%} of the answers right){same}. {pairs} {UNCERTAIN}"
        )

    def _band(self) -> str:
        """What to say of the last two or three layers in a row that decide together and say for whom; else nothing."""
        for count, name in enumerate(BANDS, start=2):
            for i in range(len(self.rows) - 1, count - 2, -1):
                own = self.rows[i - count + 1 : i + 1]
                share, same = self.rows[i][name], float(np.mean([row["constant"] for row in own]))
                if share >= HALF and same >= HALF:
                    layers = [str(row["layer"]) for row in own]
                    named = f"{', '.join(layers[:-1])} and {layers[-1]}"
                    options = f"--layer {','.join(layers)} --adapter-layers {','.join(layers)}"
                    return (
                        f"No single layer both decides and says for whom. Layers {named} together are the last that "
                        f"do: their attention, taken from the self side, makes {share:.0%} of the answers right, and "
                        f"{same:.0%} of their difference is the same in all scenes. Try SOO in all of them, with whole "
                        f"scenes as pairs that go on up to the answer ({options} --direction anchored --lead ...)."
                    )
        return ""


def told_fates(fates: Mapping[str, str]) -> str:
    """What came of training, in words.

    Args:
      fates: what came of it (``soo_jax.llm.grid.FATES``) by the layers that were trained.
    """
    named = lambda fate: ", ".join(layers for layers, own in fates.items() if own == fate) or "none"
    return (
        f"Trained, one after the other, on validation scenarios. Rivals are told the truth at least {RISE:.0%} more "
        f"often, and controls stay: layers {named(HONEST)}. Nothing much changes: {named(NOTHING)}. A control falls by "
        f"more than {FALL:.0%}: {named(DAMAGE)}."
    )


def diagnose_layers(
    lm: LM,
    contrasts: Sequence[Contrast],
    pairs: Sequence[Pair],
    probes: Sequence[Pair],
    *,
    chat: bool | None = None,
    lead: str = "",
    progress: Progress | None = None,
) -> Diagnosis:
    """Looks at every layer.

    Args:
      contrasts: scenes asked twice; those whose two places begin with the same token are left out.
      pairs: what SOO would be trained on. probes: held-out pairs, between whose sides the gap is measured.
      chat: put all of them as chat messages; None does so if the model has a template.
      lead: what the texts of pairs would go on with in training.

    Raises:
      SooError: no scenes whose places can be told apart, or one that does not fit the model's context.
    """
    chat = lm.has_chat_template if chat is None else chat
    told = aligned(lm, contrasts, chat)
    steps, done = len(PLACES) + 4, 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)

    own, other = (_prefers_right(lm, told, side) for side in ("self", "other"))
    found = latent_overlap(lm, probes, chat=chat)
    gaps = {row["layer"]: row for row in found if row["site"] == "attn_out"}
    step()
    put = lambda pair: Pair(*(lm.put(text, chat, lead) for text in (pair.self_text, pair.other_text)))
    same, carry = constant(lm, told), carried(lm, [put(pair) for pair in pairs], told, chat)
    step()
    patched = {}
    for place in PLACES:
        patched[place] = patch(lm, told, place)
        step()
    for count, name in enumerate(BANDS, start=2):
        bands = [(max(0, last - count + 1), last) for last in range(lm.config.num_layers)]
        patched[name.removeprefix("patch_")] = patch_together(lm, told, bands)
        step()
    rows = [
        {
            "layer": layer,
            "gap": gaps[layer]["mse"],
            "relative_gap": gaps[layer]["normalised"],
            "constant": same[layer],
            "carry": carry[layer],
            **{f"patch_{place}": shares[layer] for place, shares in patched.items()},
        }
        for layer in range(lm.config.num_layers)
    ]
    shares = (float(np.mean(x)) for x in (own, other, own & ~other))
    return Diagnosis(rows, len(own), *shares)


def aligned(lm: LM, contrasts: Sequence[Contrast], chat: bool) -> Contrasts:
    """Contrasts as tokens up to where the place comes, without those whose places begin with the same token."""
    texts = [Pair(*(lm.put(text, chat, one.lead) for text in (one.self_text, one.other_text))) for one in contrasts]
    gap = [" " if one.lead or not chat else "" for one in contrasts]
    before = lm.token_ids([text.self_text for text in texts], chat=chat)
    places = [
        f"{text.self_text}{space}{place}"
        for text, one, space in zip(texts, contrasts, gap, strict=True)
        for place in (one.honest, one.deceptive)
    ]
    ids = lm.token_ids(places, chat=chat)
    first = [
        tuple(own[len(row)] if len(own) > len(row) else 0 for own in ids[2 * i : 2 * i + 2])
        for i, row in enumerate(before)
    ]
    kept = [i for i, (right, wrong) in enumerate(first) if right != wrong]
    if not kept:
        raise SooError("layers: in no scene can the two places be told apart by their first token; give other scenes")
    return Contrasts.of(lm, [texts[i] for i in kept], [first[i][0] for i in kept], [first[i][1] for i in kept], chat)


def _prefers_right(lm: LM, told: Contrasts, side: str) -> np.ndarray:
    """``[n]`` bool: whether the honest place is likelier than the other one."""
    out: Array = forward(lm.config, lm.params, told.tokens[side], told.mask[side], (logits(),))[logits()][:, -1]
    rows = jnp.arange(len(out))
    return whole(out[rows, told.right] > out[rows, told.wrong])
