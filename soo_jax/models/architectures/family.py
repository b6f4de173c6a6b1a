"""What an architecture is to this library: how its ``config.json`` is read, and where its tensors lie."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soo_jax.errors import SooError, SooWarning
from soo_jax.models.config import ATTENTION, GLOBAL, PROJECTIONS, DecoderConfig, Rope

Path = tuple[str, ...]
"""Path of a leaf in the tree of parameters, below ``layers`` or from the root."""

ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
"""Activations by the names that config files use."""

REQUIRED = object()
"""Default of a setting that must be there."""

# Where each of our leaves lies in a Hugging Face folder. A kernel [in, out] is stored there as weight [out, in].
ROOT: Mapping[Path, str] = {
    ("embedding", "embedding"): "model.embed_tokens.weight",
    ("embedding", "final_norm", "scale"): "model.norm.weight",
    ("embedding", "lm_head"): "lm_head.weight",
}


def module_of(projection: str) -> str:
    """The module of a layer that holds a projection: ``self_attn.q_proj``, ``mlp.up_proj``."""
    return f"{'self_attn' if projection in ATTENTION else 'mlp'}.{projection}"


PROJECTION_TENSORS: Mapping[Path, str] = {
    **{(p, "kernel"): f"model.layers.{{}}.{module_of(p)}.weight" for p in PROJECTIONS},
    **{(p, "bias"): f"model.layers.{{}}.{module_of(p)}.bias" for p in PROJECTIONS},
}
QK_NORMS: Mapping[Path, str] = {
    ("q_norm", "scale"): "model.layers.{}.self_attn.q_norm.weight",
    ("k_norm", "scale"): "model.layers.{}.self_attn.k_norm.weight",
}
TWO_NORMS: Mapping[Path, str] = {
    ("input_norm", "scale"): "model.layers.{}.input_layernorm.weight",
    ("mlp_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight",
}
FOUR_NORMS: Mapping[Path, str] = {
    ("input_norm", "scale"): "model.layers.{}.input_layernorm.weight",
    ("post_attn_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight",
    ("mlp_norm", "scale"): "model.layers.{}.pre_feedforward_layernorm.weight",
    ("post_mlp_norm", "scale"): "model.layers.{}.post_feedforward_layernorm.weight",
}


@dataclass(frozen=True)
class Settings:
    """The fields of one ``config.json``, with what transformers assumes where the file is silent.

    An absent field takes the family's default. ``null`` is a value of its own: a field that may be null says what it
    means then, any other refuses it, as transformers does.

    Attributes:
      raw: the file. defaults: of the family. where: the file's name, for messages.
    """

    raw: Mapping[str, Any]
    defaults: Mapping[str, Any]
    where: str = "config.json"

    def get(self, name: str, default: Any = None) -> Any:
        """The field as it stands: the file's, else the family's default, else ``default``."""
        return self.raw.get(name, self.defaults.get(name, default))

    def whole(self, name: str, default: Any = REQUIRED, null: Any = REQUIRED, least: int = 1) -> int:
        """A whole number of at least ``least``. ``null``: what a field that may be null means then."""
        value = self._value(name, default, null)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            wanted = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
            raise self._wrong(name, wanted, value)
        return value

    def number(self, name: str, default: Any = REQUIRED, null: Any = REQUIRED) -> float:
        """A finite number."""
        value = self._value(name, default, null)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(name, "a finite number", value)
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def _value(self, name: str, default: Any, null: Any) -> Any:
        value = self.get(name, None if default is REQUIRED else default)
        if value is None and null is not REQUIRED and name in self.raw:
            return null
        return value

    def _wrong(self, name: str, wanted: str, found: Any) -> SooError:
        return SooError(f"{self.where}: {name} must be {wanted}, found {found!r}; copy the model's own file again")

    def activation(self, *names: str) -> str:
        """The activation under the first of these names that the file or the family gives."""
        for name in names:
            found = self.get(name)
            if found is not None:
                break
        if found not in ACTIVATIONS:
            raise SooError(f"{self.where}: activation {found!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[found]

    def rope(self, parameters: Any = None) -> Rope:
        """Rotary positions, in the dialect of the Hub (``rope_theta``, ``rope_scaling``) or of transformers 5
        (``rope_parameters``). Where a file has both, ``rope_scaling`` wins, as it does in transformers.

        Args:
          parameters: what counts as ``rope_parameters``; by default the field of that name.
        """
        scaling = self.get("rope_scaling")
        parameters = self.get("rope_parameters") if parameters is None else parameters
        if scaling and parameters:
            warnings.warn(
                f"{self.where}: has both rope_scaling and rope_parameters; rope_scaling counts, as in transformers",
                SooWarning,
                stacklevel=2,
            )
        raw = scaling or parameters or {}
        if not isinstance(raw, Mapping):
            raise self._wrong("rope_scaling" if scaling else "rope_parameters", "an object", raw)
        # What stands beside the object counts where the object is silent.
        outer = self.get("rope_theta", 10000.0) if "rope_theta" not in raw else None
        own = Settings({"rope_theta": outer, **raw}, {}, self.where)
        if own.get("partial_rotary_factor", self.get("partial_rotary_factor")) not in (None, 1, 1.0):
            raise SooError(f"{self.where}: partial_rotary_factor is not supported; only whole heads are rotated")
        theta = own.number("rope_theta")
        kind = raw.get("rope_type", raw.get("type", "default"))
        if kind == "default":
            return Rope(theta)
        if kind == "linear":
            return Rope(theta, "linear", own.number("factor"))
        if kind == "llama3":
            inside = own.get("original_max_position_embeddings", self.get("max_position_embeddings"))
            original = self.get("original_max_position_embeddings", inside)
            return Rope(
                theta,
                "llama3",
                own.number("factor"),
                own.number("low_freq_factor"),
                own.number("high_freq_factor"),
                Settings({"original_max_position_embeddings": original}, {}, self.where).whole(
                    "original_max_position_embeddings"
                ),
            )
        raise SooError(f"{self.where}: rope type {kind!r} is not supported; supported: default, linear, llama3")

    def windows(self, slides: Callable[[int], bool], window: int | None) -> tuple[int, ...]:
        """Windows of all layers: ``layer_types`` where the file has them, else where ``slides`` says so.

        Args:
          slides: whether a layer has a window. window: its positions; None: there is none.
        """
        layers = self.whole("num_hidden_layers")
        kinds = self.get("layer_types")
        if kinds is None:
            kinds = ["sliding_attention" if slides(i) else "full_attention" for i in range(layers)]
        if not isinstance(kinds, list) or len(kinds) != layers or set(kinds) - {"sliding_attention", "full_attention"}:
            raise SooError(
                f"{self.where}: layer_types must name sliding_attention or full_attention for each of {layers} layers"
            )
        if "sliding_attention" in kinds and window is None:
            raise SooError(
                f"{self.where}: layer_types names sliding_attention, but there is no sliding_window; set one of the two"
            )
        return tuple(window if kind == "sliding_attention" else GLOBAL for kind in kinds)

    def window(self) -> int | None:
        """``sliding_window``: null is none."""
        return None if self.get("sliding_window") is None else self.whole("sliding_window")


# Modules of a layer by the names that GGUF has for them.
_GGUF_PROJECTIONS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GGUF_TWO_NORMS = {**_GGUF_PROJECTIONS, "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
GGUF_FOUR_NORMS = {
    **_GGUF_PROJECTIONS,
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GGUF_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


@dataclass(frozen=True)
class Gguf:
    """How GGUF stores a family.

    Attributes:
      name: of the architecture there. layer: modules of a layer by their names there.
      permuted: whether the rows of q and k lie in the order of interleaved rotary positions.
      norm_offset: whether 1 was added to the scales of norms.
      settings: ``(told, raw) -> fields`` of ``config.json`` beside those that all share. ``told(key, default)`` asks
        the file's metadata, below the architecture's name; ``raw`` has the shared fields.
    """

    name: str
    layer: Mapping[str, str]
    permuted: bool = False
    norm_offset: bool = False
    settings: Callable[[Callable[..., Any], Mapping[str, Any]], Mapping[str, Any]] = lambda told, raw: {}


@dataclass(frozen=True)
class Architecture:
    """A family of models. Adding one is a file in this folder, or :func:`register` in your own.

    Attributes:
      name: ``model_type`` in config files. hf_class: the class in ``architectures`` there.
      read: turns settings into the fields of :class:`DecoderConfig` that differ from what all share.
      layer_tensors: for every leaf of a layer that this family can have, the tensor's name, ``{}`` for the layer.
      defaults: what transformers assumes where ``config.json`` is silent.
      nullable: fields among ``num_key_value_heads`` and ``head_dim`` that transformers lets be null.
      plain: settings that would change the computation in a way that the decoder does not know, with the values
        under which they do nothing.
      write: the fields of a fresh ``config.json`` beside those that all share; None: a config can only be copied.
      gguf: how GGUF stores it; None: it is not read from there.
      fused: modules whose weight holds those of several projections one below the other, by their names in files.
    """

    name: str
    hf_class: str
    read: Callable[[Settings], Mapping[str, Any]]
    layer_tensors: Mapping[Path, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    nullable: tuple[str, ...] = ()
    plain: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    write: Callable[[DecoderConfig], Mapping[str, Any]] | None = None
    gguf: Gguf | None = None
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def config(self, raw: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
        """The decoder that a ``config.json`` of this family describes.

        Raises:
          SooError: a missing or impossible setting, or one that the decoder does not know.
        """
        settings = Settings(raw, self.defaults, where)
        for name, harmless in self.plain.items():
            if raw.get(name) not in harmless:
                raise SooError(f"{where}: {name} = {raw[name]!r} is not supported for {self.name}")
        width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
        usual = {"num_key_value_heads": heads, "head_dim": width // heads}
        either = lambda name: settings.whole(name, usual[name], usual[name] if name in self.nullable else REQUIRED)
        fields: dict[str, Any] = {
            "vocab_size": settings.whole("vocab_size"),
            "width": width,
            "mlp_width": settings.whole("intermediate_size"),
            "num_layers": settings.whole("num_hidden_layers"),
            "num_heads": heads,
            "num_kv_heads": either("num_key_value_heads"),
            "head_dim": either("head_dim"),
            "max_positions": settings.whole("max_position_embeddings", 4096),
            "norm_eps": settings.number("rms_norm_eps"),
            "rope": settings.rope(),
            "tie_embeddings": settings.flag("tie_word_embeddings"),
        }
        return DecoderConfig(architecture=self.name, **{**fields, **self.read(settings)})
