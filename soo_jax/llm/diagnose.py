"""What each layer makes of self and other, for any model: gap, decodability, what earlier layers carry, and patching.

Every measure is taken on contrasts: a scene told twice, once so that the model answers itself and once so that it
answers somebody else, both up to where the answer is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, merge, stack_size, unstack
from soo_jax.errors import SooError
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward, run_layers, text_positions, unembed
from soo_jax.models.layers import Block, Embedding
from soo_jax.models.lm import LM
from soo_jax.models.probes import SITES, Probe, attn_out, plan, residual
from soo_jax.tasks.records import Pair

PLACES = ("recipient", "question", "answer", "attention")
"""What is patched: see :func:`patch`."""
MEASURES = ("gap", "relative_gap", "decodable", "carry", "constant", *PLACES)
"""What :func:`layer_rows` tells of each layer."""
NO_GAP = 1e-3
"""Mean square below which contrasts show no difference between self and other."""


@dataclass(frozen=True)
class Contrasts:
    """Scenes that are told twice, left-padded to one width, so that they are aligned at their ends.

    Attributes:
      tokens, mask: ``{"self": [n, T], "other": [n, T]}``, ending before the answer.
      recipient: ``[n]`` index of the last token in which the two texts differ.
      right, wrong: ``[n]`` tokens that the honest and the deceptive answer begin with.
    """

    tokens: dict[str, Array]
    mask: dict[str, Array]
    recipient: Array
    right: Array
    wrong: Array

    @classmethod
    def of(
        cls, lm: LM, pairs: Sequence[Pair], right: Sequence[int], wrong: Sequence[int], chat: bool = False
    ) -> Contrasts:
        """Contrasts of pairs of whole texts.

        Args:
          right, wrong: tokens, one per pair. chat: the texts were rendered in the model's chat template.

        Raises:
          SooError: no pairs, or a pair whose two texts are the same.
        """
        if not pairs:
            raise SooError("contrasts: no pairs given; give at least one")
        texts = {"self": [pair.self_text for pair in pairs], "other": [pair.other_text for pair in pairs]}
        width = max(len(row) for row in lm.token_ids(texts["self"] + texts["other"], chat=chat))
        encoded = {side: lm.encode(own, width=width, chat=chat) for side, own in texts.items()}
        tokens = {side: jnp.asarray(one) for side, (one, _) in encoded.items()}
        mask = {side: jnp.asarray(one) for side, (_, one) in encoded.items()}
        differs = (tokens["self"] != tokens["other"]) | (mask["self"] != mask["other"])
        if not bool(differs.any(axis=1).all()):
            same = int(np.argmin(np.asarray(differs.any(axis=1))))
            raise SooError(
                f"pair {same + 1}: its two texts are the same to the tokenizer: {texts['self'][same][-60:]!r}"
            )
        recipient = width - 1 - differs[:, ::-1].argmax(axis=1)
        return cls(tokens, mask, recipient, jnp.asarray(right), jnp.asarray(wrong))


def layer_rows(
    lm: LM, fit: Contrasts, held: Contrasts, pairs: Sequence[Pair], probes: Sequence[Pair]
) -> list[dict[str, Any]]:
    """One row per layer: gap, decodability and patching.

    Args:
      fit, held: contrasts that fit the linear probe, and others that are judged.
      pairs: what SOO would be trained on. probes: held-out pairs, between whose sides the gap is measured.

    Returns:
      Rows of ``layer``, ``gap_SITE`` and ``relative_gap_SITE`` (between the two sides of the probe pairs, at the last
      token), ``decodable_attn_out``, ``decodable_residual``, and ``patch_PLACE`` for all `PLACES`.
      ``decodable_*`` is the share of held-out texts of which a linear probe at the last token tells the recipient;
      ``carry_attn_out`` is how much of the contrasts' difference the training pairs bring with them (:func:`carried`);
      ``constant_attn_out`` how much of it is the same in all contrasts (:func:`constant`).
      ``patch_*`` is the share of contrasts in which the right answer becomes likelier than the wrong one when
      activations are taken from the self text (:func:`patch`).
    """
    gaps = {(row["site"], row["layer"]): row for row in latent_overlap(lm, probes)}
    decodable = {site: decodability(lm, site, fit, held) for site in ("attn_out", "residual")}
    patched = {place: patch(lm, held, place) for place in PLACES}
    carry, same = carried(lm, pairs, held), constant(lm, held)
    rows = []
    for layer in range(lm.config.num_layers):
        row: dict[str, Any] = {"layer": layer}
        for site in SITES:
            row[f"gap_{site}"] = gaps[site, layer]["mse"]
            row[f"relative_gap_{site}"] = gaps[site, layer]["normalised"]
        row |= {f"decodable_{site}": values[layer] for site, values in decodable.items()}
        row["carry_attn_out"], row["constant_attn_out"] = carry[layer], same[layer]
        rows.append(row | {f"patch_{place}": values[layer] for place, values in patched.items()})
    return rows


def decodability(lm: LM, site: str, fit: Contrasts, held: Contrasts, ridge: float = 1e-2) -> list[float]:
    """By layer: how often a ridge classifier on the last token's activations tells held-out recipients."""
    scores = []
    read = {id(contrasts): _last_token(lm, site, contrasts) for contrasts in (fit, held)}
    for layer in range(lm.config.num_layers):
        x, y = (read[id(contrasts)][layer] for contrasts in (fit, held))
        target = np.repeat([-1.0, 1.0], len(x) // 2)
        centre, spread = x.mean(0), x.std() + 1e-9
        x, y = (x - centre) / spread, (y - centre) / spread
        weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ target)
        scores.append(float(np.mean(np.sign(y @ weights) == np.repeat([-1.0, 1.0], len(y) // 2))))
    return scores


def _last_token(lm: LM, site: str, contrasts: Contrasts) -> np.ndarray:
    """Activations ``[L, 2 n, D]`` at the last token: the self texts, then the other texts."""
    return np.concatenate(
        [_read_last(lm, site, contrasts.tokens[s], contrasts.mask[s]) for s in ("self", "other")], axis=1
    )


def _read_last(lm: LM, site: str, tokens: Array, mask: Array) -> np.ndarray:
    """Activations ``[L, n, D]`` at the last token."""
    probe = Probe(site, "all")
    return np.asarray(forward(lm.config, lm.params, tokens, mask, (probe,))[probe])[:, :, -1].astype(np.float64)


def carried(lm: LM, pairs: Sequence[Pair], contrasts: Contrasts) -> list[float]:
    """By layer: the part of the scenes' difference between self and other that pairs show, too.

    The mean difference of the attention output at the last token of the pairs, projected on that of the scenes, as a
    share of it: 1 where the pairs show the same difference; near 0 where they show another, so that to bring their two
    sides together says nothing about the scenes. 0 where the scenes show next to none (`NO_GAP`).
    """
    texts = [[getattr(pair, side) for pair in pairs] for side in ("self_text", "other_text")]
    mean = lambda tokens, mask: _read_last(lm, "attn_out", tokens, mask).mean(axis=1)
    shown = np.subtract(*(mean(*lm.encode(own)) for own in texts))
    scenes = np.subtract(*(mean(contrasts.tokens[side], contrasts.mask[side]) for side in ("self", "other")))
    common, whole = (shown * scenes).mean(axis=1), (scenes**2).mean(axis=1)
    return [float(c / w) if w > NO_GAP else 0.0 for c, w in zip(common, whole, strict=True)]


def constant(lm: LM, contrasts: Contrasts) -> list[float]:
    """By layer: how much of the difference between self and other is the same in all scenes.

    Mean square of the mean difference of the attention output at the last token over the mean square of the
    differences: 1 where the layer says for whom the answer is, whatever the scene; near 0 where it says something else
    in every scene, as a layer does that has already fetched the room. 0 where scenes show no difference (`NO_GAP`).
    """
    apart = np.subtract(
        *(_read_last(lm, "attn_out", contrasts.tokens[side], contrasts.mask[side]) for side in ("self", "other"))
    )
    common, whole = (apart.mean(axis=1) ** 2).mean(axis=-1), (apart**2).mean(axis=(1, 2))
    return [float(c / w) if w > NO_GAP else 0.0 for c, w in zip(common, whole, strict=True)]


def moved(lm: LM, adapters: Lora, contrasts: Contrasts, layer: int) -> dict[str, list[float]]:
    """How far SOO took each side of the scenes along the way from the other side to the self side, by adapter.

    Projections of the change of the mean attention output at the last token on the base's difference between the sides,
    as shares of it: ``other`` 1 and ``self`` 0 is what SOO is for; ``other`` 0 and ``self`` -1 would be a model that
    treats itself as it treats others. The loss tells them not apart. 0 where the sides are the same from the start.
    """
    read = lambda model, side: _read_last(model, "attn_out", contrasts.tokens[side], contrasts.mask[side])[layer].mean(
        axis=0
    )
    base = {side: read(lm, side) for side in ("self", "other")}
    way = base["self"] - base["other"]
    if np.mean(way**2) < NO_GAP:
        return {side: [0.0] * stack_size(adapters) for side in base}
    after = [replace(lm, params=merge(lm.params, one)) for one in unstack(adapters)]
    return {side: [float((read(model, side) - base[side]) @ way / (way @ way)) for model in after] for side in base}


def patch(lm: LM, contrasts: Contrasts, place: str) -> list[float]:
    """By layer: share of contrasts in which the patched other text prefers the right answer.

    ``recipient`` (the last token that differs), ``question`` (the one behind it, where fragments end) and ``answer``
    (the last one) take over the residual stream behind the layer at that place, and with it all that earlier layers
    wrote there; ``attention`` takes over what the layer's own attention puts out at the answer, which is the site that
    SOO trains.
    """
    config, mask = lm.config, contrasts.mask["other"]
    last = jnp.full_like(contrasts.recipient, mask.shape[1] - 1)
    position = {"recipient": contrasts.recipient, "question": contrasts.recipient + 1}.get(place, last)
    chosen = (jnp.arange(mask.shape[1]) == position[:, None])[..., None]
    own, other = (_streams(lm, contrasts, side) for side in ("self", "other"))
    scores = []
    for layer in range(config.num_layers):
        if place == "attention":
            mixed = jnp.where(chosen, own.attention[layer], other.attention[layer])
            weights = jax.tree.map(lambda leaf, i=layer: leaf[i], lm.params["layers"])
            x = Block(config).apply({"params": weights}, other.before[layer], mixed, method="finish")[0]
        else:
            x = jnp.where(chosen, own.before[layer + 1], other.before[layer + 1])
        for later in range(layer + 1, config.num_layers):
            one = jax.tree.map(lambda leaf, i=later: leaf[i : i + 1], lm.params["layers"])
            x = _one_layer(replace(config, num_layers=1, windows=config.windows[later : later + 1]), one, x, mask)
        out = unembed(config, lm.params, x[:, -1])
        rows = jnp.arange(len(out))
        scores.append(float(jnp.mean(out[rows, contrasts.right] > out[rows, contrasts.wrong])))
    return scores


class Streams(NamedTuple):
    """Residual stream before each layer and behind the last ``[L + 1, B, T, D]``; attention output ``[L, B, T, D]``."""

    before: Array
    attention: Array


def _streams(lm: LM, contrasts: Contrasts, side: str) -> Streams:
    tokens = contrasts.tokens[side]
    behind, attention = residual("all"), attn_out("all")
    read = forward(lm.config, lm.params, tokens, contrasts.mask[side], (behind, attention))
    words = Embedding(lm.config).apply({"params": lm.params["embedding"]}, tokens, method="embed")
    return Streams(jnp.concatenate([words[None], read[behind]]), read[attention])


@partial(jax.jit, static_argnames="config")
def _one_layer(config: DecoderConfig, layer: Params, x: Array, mask: Array) -> Array:
    """The residual stream ``[B, T, D]`` behind the only layer of ``config``."""
    positions, order = text_positions(mask), jnp.arange(mask.shape[1])
    attend = (order[:, None] >= order) & mask[:, None, :]
    return run_layers(config, layer, x, positions, positions, attend, plan((residual(0),), 1))[0]
