"""A start from which so small a decoder learns to bind items to places.

From the usual random start, attention never learned in our budget which item lies in which room. Two changes help:
layers begin as *mimetic* attention (query-key and value-output products near multiples of the identity, after
Trockman and Kolter 2023, arXiv:2305.09828), so that equal words find each other, and the heads of the first layer
begin as soft windows that look a fixed number of words back.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, init_params

OFFSETS = (1, 3, 4, 0)
"""How many words back the heads of layer 0 look at first."""
LOOKUPS = ((3, 3), (3, 4), (4, 3), (4, 4))
"""For each head of layer 1: at which offset from the query lies the word that it looks for among the keys, and
at which offset from the key found lies the word that it copies."""


def mimetic_params(
    config: DecoderConfig,
    key: jax.Array,
    *,
    embedding_std: float = 0.1,
    match: float = 2.0,
    copy: float = 0.3,
    peak: float = 12.0,
) -> Params:
    """Random parameters with mimetic attention and a local first layer.

    Args:
      config: a decoder with as many KV heads as heads and ``num_heads * head_dim == width``.
      key: source of randomness.
      embedding_std: standard deviation of the token embeddings.
      match: the query-key product is this times a projection; equal words match that much.
      copy: the value-output product is this times a projection.
      peak: attention score of a layer-0 head at its offset, before the softmax.
    """
    heads, dim, width = config.num_heads, config.head_dim, config.width
    if config.num_kv_heads != heads or heads * dim != width:
        raise ValueError("mimetic_params needs num_kv_heads == num_heads and num_heads * head_dim == width")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    params = jax.tree.map(np.array, init_params(config, key))

    shared = _direction(rng, width)
    across = np.eye(width) - np.outer(shared, shared)
    params["embedding"]["embedding"][:] = _words(rng, shared, config.vocab_size, embedding_std)

    layers = params["layers"]
    for i in range(config.num_layers):
        basis = across @ _orthogonal(rng, width)
        value, matching = basis, across @ _orthogonal(rng, width)
        if i == 0:
            written = np.split(basis, heads, axis=1)  # what each local head writes its word into
        elif i == 1:
            matching = np.concatenate([written[OFFSETS.index(m)] for m, _ in LOOKUPS], axis=1)
            value = np.concatenate([written[OFFSETS.index(c)] for _, c in LOOKUPS], axis=1)
        layers["v_proj"]["kernel"][i] = value
        layers["o_proj"]["kernel"][i] = copy * value.T
        if i:
            layers["q_proj"]["kernel"][i] = layers["k_proj"]["kernel"][i] = np.sqrt(match) * matching
    query, look = _local_heads(config, peak)
    for name, rows in (("q_proj", query), ("k_proj", look)):
        noise = rng.normal(0.0, 0.3 * width**-0.5, (width, width))
        layers[name]["kernel"][0] = across @ noise + np.outer(shared, rows)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


def fresh_words(key: jax.Array, draw: int, count: int, width: int, embedding_std: float = 0.1) -> np.ndarray:
    """Embeddings ``[count, width]`` as :func:`mimetic_params` of the same key may draw them, by number of the draw."""
    seed = np.asarray(jax.random.key_data(key))
    shared = _direction(np.random.default_rng(seed), width)
    return _words(np.random.default_rng([*seed, draw]), shared, count, embedding_std)


def _direction(rng: np.random.Generator, width: int) -> np.ndarray:
    """The direction that all embeddings share; the first layer's queries and keys read it, later layers do not."""
    shared = rng.normal(size=width)
    return shared / np.linalg.norm(shared)


def _words(rng: np.random.Generator, shared: np.ndarray, count: int, std: float) -> np.ndarray:
    words = rng.normal(0.0, std, (count, len(shared)))
    words -= np.outer(words @ shared, shared)
    return words + shared * np.linalg.norm(words, axis=1).mean()


def _orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def _local_heads(config: DecoderConfig, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients ``[width]`` of the shared direction in queries and keys of layer 0.

    A query at position t and a key at s score sum_f cos(w_f (t - s - offset)): most at s = t - offset. Slow
    frequencies are left out; they would only flatten the peak.
    """
    dim, half = config.head_dim, config.head_dim // 2
    frequency = config.rope.theta ** -(np.arange(half) / half)
    fast = frequency > 0.3
    # After the input norm the shared coordinate is about sqrt(width / 2): half of each embedding's power.
    amplitude = np.sqrt(peak * np.sqrt(dim) / fast.sum() / (config.width / 2))
    key = np.concatenate([fast * amplitude, np.zeros(half)])
    rows = []
    for head in range(config.num_heads):
        angle = -frequency * OFFSETS[head % len(OFFSETS)]
        rows.append(np.concatenate([fast * amplitude * np.cos(angle), fast * amplitude * np.sin(angle)]))
    return np.concatenate(rows), np.tile(key, config.num_heads)
