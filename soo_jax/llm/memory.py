"""How much memory a model needs, from its config alone: ``python -m soo_jax.llm.memory FOLDER...`` prints a table.

These are estimates. Weights, adapters, optimiser state and KV cache are counted exactly; activations are counted by
what the backward pass keeps of each layer, without what the compiler saves or adds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from soo_jax.models.architectures import read_config
from soo_jax.models.config import PROJECTIONS, DecoderConfig

GB = 10**9


@dataclass(frozen=True)
class Memory:
    """Bytes over all devices together.

    Attributes:
      weights: the base. adapters: adapters, their gradients and both moments of Adam, float32.
      activations: kept for the backward pass of one micro-batch, all adapters of the stack.
      cache: keys and values while one batch of prompts is answered, all adapters of the stack.
    """

    weights: int
    adapters: int
    activations: int
    cache: int

    @property
    def training(self) -> int:
        return self.weights + self.adapters + self.activations

    @property
    def evaluation(self) -> int:
        return self.weights + self.adapters // 4 + self.cache


def parameters(config: DecoderConfig) -> int:
    """How many weights a model of this config has; norms and biases, a fraction of a per mille, are left out."""
    layer = sum(wide * out for wide, out in map(config.projection_shape, PROJECTIONS))
    embeddings = config.vocab_size * config.width * (1 if config.tie_embeddings else 2)
    return config.num_layers * layer + embeddings


def estimate(
    config: DecoderConfig,
    *,
    bytes_per_weight: int = 2,
    adapters: int = 5,
    rank: int = 8,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    layer: int | None = None,
    rows: int = 8,
    tokens: int = 48,
    remat: bool = False,
    prompts: int = 16,
    context: int = 256,
) -> Memory:
    """Estimates the memory of fine-tuning and of answering.

    Args:
      adapters: how many are trained together (seeds times learning rates). rank, targets: of each.
      layer: the deepest layer that the loss reads; the forward pass ends there. None is the last one.
      rows, tokens: texts in a micro-batch (both sides of a pair count) and tokens in each.
      remat: recompute layers in the backward pass.
      prompts, context: prompts answered at once and tokens of each, the answer included.
    """
    depth = config.num_layers if layer is None else layer + 1
    factors = sum(rank * sum(config.projection_shape(name)) for name in targets) * config.num_layers
    heads = config.num_heads * config.head_dim
    # Norms in and out, queries, attention, residuals: some widths; three of the MLP; scores and their softmax.
    kept = 6 * config.width + 4 * heads + 3 * config.mlp_width
    per_layer = rows * tokens * kept * bytes_per_weight + 2 * rows * config.num_heads * tokens**2 * 4
    stream = rows * tokens * config.width * bytes_per_weight
    activations = depth * stream + per_layer if remat else depth * per_layer
    kv = 2 * config.num_layers * config.num_kv_heads * config.head_dim * prompts * context * bytes_per_weight
    return Memory(
        weights=parameters(config) * bytes_per_weight,
        adapters=4 * 4 * factors * adapters,
        activations=activations * adapters,
        cache=kv * adapters,
    )


def table(configs: dict[str, DecoderConfig], **settings: int) -> str:
    """A Markdown table of estimates in GB, one line per model and dtype."""
    lines = [
        "| model | parameters | dtype | weights | 5 adapters + Adam | activations | with remat | KV cache |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in configs.items():
        for dtype, size in (("bfloat16", 2), ("float32", 4)):
            plain = estimate(config, bytes_per_weight=size, **settings)
            light = estimate(config, bytes_per_weight=size, remat=True, **settings)
            cells = (plain.weights, plain.adapters, plain.activations, light.activations, plain.cache)
            numbers = " | ".join(f"{value / GB:.1f}" for value in cells)
            lines.append(f"| {name} | {parameters(config) / GB:.1f}e9 | {dtype} | {numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table({folder: read_config(folder) for folder in sys.argv[1:]}))
