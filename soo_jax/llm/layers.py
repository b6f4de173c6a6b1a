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
from soo_jax.llm.diagnose import NO_GAP, PLACES, Contrasts, carried, constant, margins_together, patch
from soo_jax.llm.grid import DAMAGE, FALL, HONEST, NOTHING, RISE
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.decoder import forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import logits
from soo_jax.progress import Progress
from soo_jax.tasks.records import Contrast, Pair

Shares = tuple[list[float], list[float]]

UNCERTAIN = (
    "SOO worked at the layers so found in seven organisms of three real models; in eleven small ones no measure of "
    "single layers predicted well what it achieved (best rank correlation 0.63): compare with more and with fewer "
    "layers (--train), on validation scenarios."
)
HALF = 0.5
"""Share above which a measure counts as high in the advice."""
HAND = 0.2
"""Share of the margin from which on a layer's attention has a hand in the decision."""
ENOUGH = 0.8
"""Share of the margin that layers have to bring back to be advised."""


@dataclass(frozen=True)
class Diagnosis:
    """What each layer makes of self and other.

    Attributes:
      rows: one per layer: ``layer``; ``gap`` and ``relative_gap`` of the attention output between the sides of the
        probes; ``constant`` and ``carry``; ``patch_PLACE`` for all ``PLACES`` (see ``soo_jax.llm.diagnose``);
        ``restored`` and ``broken``, the share of the margin between the two sides that comes back when its attention
        is taken from the self side, and that is lost when it is taken from the other side.
      together: of the layers that have a hand in the decision (`HAND` in either of the two), the first, the first two,
        and so on: ``layers``, ``restored`` by all of them, ``right``, the share of answers that they make right, and
        ``rest``, the share that all other layers together still turn, taken from the other side.
      scenes: how many were looked at.
      self_right, other_right: share of them in which the model prefers the honest place, by whom it advises.
      apart: share in which it prefers the honest place for itself and the other one for the rival.
    """

    rows: list[dict[str, Any]]
    together: list[dict[str, Any]]
    scenes: int
    self_right: float
    other_right: float
    apart: float

    @property
    def advised(self) -> tuple[int, ...]:
        """The first layers with a hand in the decision that bring back enough of the margin; all where none do.

        Later layers follow what these decide. None where no layer has a hand in it, or there is nothing to decide.
        """
        if self.apart < HALF or not self.together:
            return ()
        enough = (one for one in self.together if one["restored"] >= ENOUGH)
        return tuple(next(enough, self.together[-1])["layers"])

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
        if not self.advised:
            best = max(self.rows, key=lambda row: max(row["restored"], row["broken"]))
            share = max(best["restored"], best["broken"])
            return (
                f"{told} No layer's attention carries a fifth of the margin between the two sides; the best one (layer "
                f"{best['layer']}) carries {share:.0%}. Try SOO at several layers at once, with whole scenes as pairs."
            )
        found = next(one for one in self.together if tuple(one["layers"]) == self.advised)
        done = (
            f"taken from the self side, brings back {found['restored']:.0%} of the margin between the two sides and "
            f"makes {found['right']:.0%} of the answers right"
        )
        if len(self.advised) > 1:
            named = f"{', '.join(map(str, self.advised[:-1]))} and {self.advised[-1]}"
            return (
                f"{told} Layers {named} decide together: their attention, {done}. Try SOO in all of them, with whole "
                f"scenes as pairs that go on up to the answer (--layers-from with the folder of this run, --direction "
                f"anchored, --lead ...). {UNCERTAIN}"
            )
        row = next(row for row in self.rows if row["layer"] == self.advised[0])
        same = (
            "Its difference is the same in most scenes, so that it says for whom the answer is."
            if row["constant"] >= HALF
            else "Its difference changes from scene to scene, as in a layer that has fetched the place already."
        )
        pairs = (
            "The fragments show that difference: try them, with the adapter in that layer alone."
            if row["carry"] >= HALF and row["constant"] >= HALF
            else "Try whole scenes as pairs (--pairs scenes --direction anchored) on all projections of that layer."
        )
        return f"{told} Layer {row['layer']} decides: its attention, {done}. {same} {pairs} {UNCERTAIN}"


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
    steps, done = len(PLACES) + 3, 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)

    own, other = (_margins(lm, told, side) for side in ("self", "other"))
    found = latent_overlap(lm, probes, chat=chat)
    gaps = {row["layer"]: row for row in found if row["site"] == "attn_out"}
    step()
    put = lambda pair: Pair(*(lm.put(text, chat, lead) for text in (pair.self_text, pair.other_text)))
    same, carry = constant(lm, told), carried(lm, [put(pair) for pair in pairs], told, chat)
    step()
    patched = {}
    for place in ("recipient", "question", "answer"):
        patched[place] = patch(lm, told, place)
        step()
    layers = range(lm.config.num_layers)
    restored, patched["attention"] = _given(lm, told, own, other, [[layer] for layer in layers])
    broken, _ = _taken(lm, told, own, other, [[layer] for layer in layers])
    step()
    together = _together(lm, told, own, other, [i for i in layers if max(restored[i], broken[i]) >= HAND])
    step()
    rows = [
        {
            "layer": layer,
            "gap": gaps[layer]["mse"],
            "relative_gap": gaps[layer]["normalised"],
            "constant": same[layer],
            "carry": carry[layer],
            **{f"patch_{place}": shares[layer] for place, shares in patched.items()},
            "restored": restored[layer],
            "broken": broken[layer],
        }
        for layer in layers
    ]
    shares = (float(np.mean(x)) for x in (own > 0, other > 0, (own > 0) & ~(other > 0)))
    return Diagnosis(rows, together, len(own), *shares)


def _together(
    lm: LM, told: Contrasts, own: np.ndarray, other: np.ndarray, deciding: Sequence[int]
) -> list[dict[str, Any]]:
    """What the first, the first two, ... of these layers do together, and what all others do then."""
    if not deciding:
        return []
    sets = [list(deciding[: count + 1]) for count in range(len(deciding))]
    rests = [[layer for layer in range(lm.config.num_layers) if layer not in chosen] for chosen in sets]
    restored, right = _given(lm, told, own, other, sets)
    _, wrong = _taken(lm, told, own, other, rests)
    return [
        {"layers": chosen, "restored": share, "right": made, "rest": turned}
        for chosen, share, made, turned in zip(sets, restored, right, wrong, strict=True)
    ]


def _given(lm: LM, told: Contrasts, own: np.ndarray, other: np.ndarray, sets: Sequence[Sequence[int]]) -> Shares:
    """By set of layers, taken from the self side: what comes back of the margin, and how many answers are right."""
    margins = margins_together(lm, told, sets, into="other")
    return _of_gap(margins.mean(axis=1) - other.mean(), own, other), (margins > 0).mean(axis=1).tolist()


def _taken(lm: LM, told: Contrasts, own: np.ndarray, other: np.ndarray, sets: Sequence[Sequence[int]]) -> Shares:
    """By set of layers, taken from the other side: what is lost of the margin, and how many answers are wrong."""
    margins = margins_together(lm, told, sets, into="self")
    return _of_gap(own.mean() - margins.mean(axis=1), own, other), (margins <= 0).mean(axis=1).tolist()


def _of_gap(change: np.ndarray, own: np.ndarray, other: np.ndarray) -> list[float]:
    """Changes of the mean margin as shares of what lies between the two sides; 0 where that is nothing."""
    gap = own.mean() - other.mean()
    return (change / gap if gap > NO_GAP else np.zeros_like(change)).tolist()


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


def _margins(lm: LM, told: Contrasts, side: str) -> np.ndarray:
    """``[n]`` logit of the honest place's first token less that of the other one's."""
    out: Array = forward(lm.config, lm.params, told.tokens[side], told.mask[side], (logits(),))[logits()][:, -1]
    rows = jnp.arange(len(out))
    return whole(out[rows, told.right] - out[rows, told.wrong])
