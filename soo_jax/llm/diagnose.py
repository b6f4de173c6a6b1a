"""What each layer makes of self and other, for any model: gap, decodability, what earlier layers carry, and patching.

Every measure is taken on contrasts: a scene told twice, once so that the model answers itself and once so that it
answers somebody else, both up to where the answer is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, merge, stack_size, unstack
from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Cache, Params, forward, run_layers, text_positions, unembed
from soo_jax.models.layers import Block, Embedding
from soo_jax.models.lm import LM
from soo_jax.models.probes import SITES, Probe, attn_out, cheapest_pass, logits, residual
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
    return whole(forward(lm.config, lm.params, tokens, mask, (probe,))[probe])[:, :, -1].astype(np.float64)


def carried(lm: LM, pairs: Sequence[Pair], contrasts: Contrasts, chat: bool = False) -> list[float]:
    """By layer: the part of the scenes' difference between self and other that pairs show, too.

    The mean difference of the attention output at the last token of the pairs, projected on that of the scenes, as a
    share of it: 1 where the pairs show the same difference; near 0 where they show another, so that to bring their two
    sides together says nothing about the scenes. 0 where the scenes show next to none (`NO_GAP`).

    Args:
      chat: the pairs were rendered in the model's chat template.
    """
    texts = [[getattr(pair, side) for pair in pairs] for side in ("self_text", "other_text")]
    mean = lambda tokens, mask: _read_last(lm, "attn_out", tokens, mask).mean(axis=1)
    shown = np.subtract(*(mean(*lm.encode(own, chat=chat)) for own in texts))
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
    after = [lm.with_params(merge(lm.params, one)) for one in unstack(adapters)]
    return {side: [float((read(model, side) - base[side]) @ way / (way @ way)) for model in after] for side in base}


def patch(lm: LM, contrasts: Contrasts, place: str) -> list[float]:
    """By layer: share of contrasts in which the patched other text prefers the right answer.

    ``recipient`` (the last token that differs), ``question`` (the one behind it, where fragments end) and ``answer``
    (the last one) take over the residual stream behind the layer at that place, and with it all that earlier layers
    wrote there; ``attention`` takes over what the layer's own attention puts out at the answer, which is the site that
    SOO trains.

    Nothing before the patched place changes, so only what comes from there on is run again, for all layers together.
    """
    config, mask = lm.config, contrasts.mask["other"]
    width = mask.shape[1]
    last = jnp.full_like(contrasts.recipient, width - 1)
    position = {"recipient": contrasts.recipient, "question": contrasts.recipient + 1}.get(place, last)
    start = int(position.min())
    chosen = (jnp.arange(start, width) == position[:, None])[..., None]
    own, other = (_streams(lm.config, lm.params, contrasts.tokens[s], contrasts.mask[s]) for s in ("self", "other"))
    patched = jnp.zeros((config.num_layers, *other.behind[0, :, start:].shape), other.behind.dtype)
    for i in range(config.num_layers):
        alone, weights = _alone(config, i), jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], lm.params["layers"])
        moved_on = _moved_on(alone, weights, patched, jax.tree.map(lambda leaf, i=i: leaf[i], other.cache), mask, start)
        patched = jnp.where((jnp.arange(config.num_layers) < i)[:, None, None, None], moved_on, patched)
        if place == "attention":
            mixed = jnp.where(chosen, own.attention[i, :, start:], other.attention[i, :, start:])
            before = (other.behind[i - 1] if i else other.words)[:, start:]
            one = {"params": jax.tree.map(lambda leaf: leaf[0], weights)}
            here = Block(config).apply(one, before, mixed, method="finish")[0]
        else:
            here = jnp.where(chosen, own.behind[i, :, start:], other.behind[i, :, start:])
        patched = patched.at[i].set(here)
    out = unembed(config, lm.params, patched[:, :, -1])
    rows = jnp.arange(out.shape[1])
    return jnp.mean(out[:, rows, contrasts.right] > out[:, rows, contrasts.wrong], axis=1).tolist()


def margins_together(
    lm: LM, contrasts: Contrasts, sets: Sequence[Sequence[int]], into: Literal["self", "other"] = "other"
) -> np.ndarray:
    """By set of layers: the margins when the attention of all of them at the answer is taken from the other text.

    Into the other text, this is what SOO would bring about that closed the gap in all of them. Into the self text, it
    shows what those layers have a hand in: where others make up for a layer, only this direction tells.

    Args:
      sets: of layers, each of any size. into: the side whose texts are run; activations come from the opposite one.

    Returns:
      ``[sets, n]`` logit of the right answer's first token less that of the wrong one's, each behind the last token.
    """
    config, mask = lm.config, contrasts.mask[into]
    at = mask.shape[1] - 1  # nothing before the last token changes
    source = "self" if into == "other" else "other"
    given, host = (_streams(lm.config, lm.params, contrasts.tokens[s], contrasts.mask[s]) for s in (source, into))
    taken = jnp.asarray([[layer in own for layer in range(config.num_layers)] for own in sets])
    x = jnp.broadcast_to(host.words[None, :, at:], (len(sets), *host.words[:, at:].shape))
    for i in range(config.num_layers):
        alone, weights = _alone(config, i), jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], lm.params["layers"])
        own = _moved_on(alone, weights, x, jax.tree.map(lambda leaf, i=i: leaf[i], host.cache), mask, at)
        one = {"params": jax.tree.map(lambda leaf: leaf[0], weights)}
        mixed = jnp.broadcast_to(given.attention[i, :, at:], x.shape).reshape(-1, *x.shape[2:])
        swapped = Block(config).apply(one, x.reshape(mixed.shape), mixed, method="finish")[0].reshape(x.shape)
        x = jnp.where(taken[:, i, None, None, None], swapped, own)
    out = unembed(config, lm.params, x[:, :, 0])
    rows = jnp.arange(out.shape[1])
    return whole(out[:, rows, contrasts.right] - out[:, rows, contrasts.wrong])


class _Streams(NamedTuple):
    """``words [B, T, D]``; ``behind`` and ``attention [L, B, T, D]``: the residual stream behind each layer, and what
    its attention puts out; the keys and values of all layers."""

    words: Array
    behind: Array
    attention: Array
    cache: Cache


@partial(jax.jit, static_argnames="config")
def _streams(config: DecoderConfig, params: Params, tokens: Array, mask: Array) -> _Streams:
    words = Embedding(config).apply({"params": params["embedding"]}, tokens, method="embed")
    shape = (config.num_layers, len(tokens), config.num_kv_heads, tokens.shape[1], config.head_dim)
    empty = jnp.zeros(shape, words.dtype)
    positions, order = text_positions(mask), jnp.arange(tokens.shape[1])
    attend = (order[:, None] >= order) & mask[:, None, :]
    todo = cheapest_pass((residual("all"), attn_out("all"), logits()), config.num_layers)
    _, read, _, cache = run_layers(
        config, params["layers"], words, positions, positions, attend, todo, cache=Cache(empty, empty)
    )
    count = config.num_layers  # behind them stands a spare row
    return _Streams(words, read["residual"][:count], read["attn_out"][:count], cache)


def _alone(config: DecoderConfig, layer: int) -> DecoderConfig:
    """A model of that layer alone."""
    ropes = config.layer_ropes and config.layer_ropes[layer : layer + 1]
    return replace(config, num_layers=1, windows=config.windows[layer : layer + 1], layer_ropes=ropes)


@partial(jax.jit, static_argnames=("config", "start"))
def _moved_on(config: DecoderConfig, layer: Params, x: Array, cache: Cache, mask: Array, start: int) -> Array:
    """The streams ``x [P, B, S, D]`` of the last S tokens behind the only layer of ``config``.

    Args:
      cache: the layer's keys and values ``[B, K, T, head_dim]``; those from ``start`` on are replaced.
    """
    many, batch = x.shape[:2]
    again = lambda leaf: jnp.broadcast_to(leaf, (many, *leaf.shape)).reshape(many * batch, *leaf.shape[1:])
    positions, order = again(text_positions(mask)), jnp.arange(mask.shape[1])
    attend = (order[start:, None] >= order) & again(mask)[:, None, :]
    flat, todo = x.reshape(many * batch, *x.shape[2:]), cheapest_pass((logits(),), 1)
    kept = Cache(*(again(leaf)[None] for leaf in cache))
    return run_layers(config, layer, flat, positions[:, start:], positions, attend, todo, cache=kept, cache_slot=start)[
        0
    ].reshape(x.shape)
