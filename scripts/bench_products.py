"""The products of matrices that the benchmark's texts ask for, without padding: what a machine cannot do without."""

from __future__ import annotations

from typing import Any


def learned(work: Any, _: float, sides: int = 2) -> float:
    """FLOP that an update of one adapter takes for each pair.

    Forward through the layers below the one that is read and through its attention, and backward for the activations of
    as many sides as learn. Left out, at a few per cent, are the products of attention itself and of the adapter.

    Args:
      work: a ``bench_contenders.Work``.
    """
    layer, attention, _head, _count = _kernels(work)
    own, other = (sum(map(len, side)) / len(side) for side in work.pairs)
    return 2 * (work.layer * layer + attention) * (own + other + (other if sides == 1 else own + other))


def answered(work: Any, tokens: float) -> float:
    """FLOP that an answer of so many tokens takes, its prompt included; the head is needed for its own tokens alone."""
    layer, _attention, head, count = _kernels(work)
    read = sum(map(len, work.prompts)) / len(work.prompts) + tokens
    return 2 * (count * layer * read + head * tokens)


def _kernels(work: Any) -> tuple[float, float, float, int]:
    """Numbers in the kernels of one layer, of its attention, and of the head; how many layers."""
    from soo_jax.models.architectures import read_config
    from soo_jax.models.decoder import param_shapes

    config = read_config(work.folder)
    layers = param_shapes(config)["layers"]
    kernels = {name: part["kernel"].size / config.num_layers for name, part in layers.items() if "kernel" in part}
    attention = sum(kernels[f"{name}_proj"] for name in "qkvo")
    return sum(kernels.values()), attention, config.vocab_size * config.width, config.num_layers
