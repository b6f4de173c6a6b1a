"""Probes: hashable names for what can be read off a forward pass, and the cheapest pass that yields them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soo_jax.errors import SooError

SITES = ("attn_out", "mlp_out", "residual")
"""Sites inside a layer, in the order in which the layer computes them."""


@dataclass(frozen=True)
class Probe:
    """A site and one layer (``[B, T, D]``), several (``[n, B, T, D]``) or ``"all"`` (``[L, B, T, D]``).

    The site ``logits`` has no layer and gives ``[B, T, V]``. Negative layers count from the last.
    """

    site: str
    layer: int | tuple[int, ...] | str | None = None

    def __lt__(self, other: Probe) -> bool:
        # JAX sorts the keys of dictionaries that cross a jit boundary.
        return repr(self) < repr(other)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The layers that are read in a decoder of ``num_layers``; raises SooError if one is out of range."""
        if self.layer is None:
            return ()
        if self.layer == "all":
            return tuple(range(num_layers))
        asked = (self.layer,) if isinstance(self.layer, int) else self.layer
        for layer in asked:
            if not -num_layers <= layer < num_layers:
                raise SooError(
                    f"layer {layer} is out of range: this model has {num_layers} layers, 0 to {num_layers - 1}"
                )
        return tuple(layer % num_layers for layer in asked)


def _at(site: str, layer: int | Iterable[int] | str) -> Probe:
    if isinstance(layer, str) and layer != "all":
        raise SooError(f'{site}: a layer is a whole number, several, or "all"; found {layer!r}')
    return Probe(site, layer if isinstance(layer, int | str) else tuple(layer))


def attn_out(layer: int | Iterable[int] | str = "all") -> Probe:
    """What attention puts out: the output of ``o_proj``, before any post-norm and the residual sum."""
    return _at("attn_out", layer)


def mlp_out(layer: int | Iterable[int] | str = "all") -> Probe:
    """What the MLP puts out: the output of ``down_proj``, before any post-norm and the residual sum."""
    return _at("mlp_out", layer)


def residual(layer: int | Iterable[int] | str = "all") -> Probe:
    """The residual stream as a layer leaves it."""
    return _at("residual", layer)


def logits() -> Probe:
    """Output logits, after the soft cap where the architecture has one."""
    return Probe("logits")


@dataclass(frozen=True)
class Pass:
    """The cheapest forward pass for a set of probes.

    Attributes:
      depth: how many layers run whole.
      attention_only: whether layer ``depth`` runs too, up to its attention output.
      reads: for each site inside the layers, the layers read, ascending.
      logits: whether final norm and unembedding run.
    """

    depth: int
    attention_only: bool
    reads: tuple[tuple[str, tuple[int, ...]], ...]
    logits: bool


def cheapest_pass(probes: Iterable[Probe], num_layers: int) -> Pass:
    """Finds where a forward pass may stop."""
    reads: dict[str, set[int]] = {}
    want_logits = False
    for probe in probes:
        if probe.site == "logits":
            want_logits = True
        elif probe.site in SITES:
            reads.setdefault(probe.site, set()).update(probe.layers(num_layers))
        else:
            raise SooError(f"unknown probe site {probe.site!r}; a decoder has {', '.join(SITES)}, logits")
    whole = max((max(layers) + 1 for site, layers in reads.items() if site != "attn_out"), default=0)
    depth = num_layers if want_logits else whole
    deepest_attention = max(reads.get("attn_out", {-1}))
    attention_only = deepest_attention >= depth
    if attention_only:
        depth = deepest_attention
    ordered = tuple((site, tuple(sorted(reads[site]))) for site in SITES if site in reads)
    return Pass(depth, attention_only, ordered, want_logits)
