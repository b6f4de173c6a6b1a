"""One config for all supported decoders, and how a Hugging Face ``config.json`` becomes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError

GLOBAL = 1 << 30
"""Window of a layer that attends to everything before it."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: base frequency and the two kinds of frequency scaling in use.

    ``kind`` is ``default``, ``linear`` (all frequencies divided by ``factor``) or ``llama3`` (only the slow
    ones, with a smooth passage between ``low_freq_factor`` and ``high_freq_factor`` turns in
    ``original_positions``).
    """

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that distinguishes Mistral, Llama, Qwen2 and Gemma-2 from one another. Hashable: static in jit.

    Attributes:
      architecture: ``mistral``, ``llama``, ``qwen2`` or ``gemma2``; only reading and writing folders asks for it.
      windows: for every layer how many positions it sees, itself included; ``GLOBAL`` sees all.
      query_scale: factor on query-key products.
      norm_offset: Gemma's RMSNorm multiplies with ``1 + scale``.
      post_norms: Gemma-2 normalises also what attention and MLP put out.
      attn_softcap, logit_softcap: ``cap * tanh(x / cap)``; 0 is none.
    """

    architecture: str
    vocab_size: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    windows: tuple[int, ...]
    norm_eps: float = 1e-5
    rope: Rope = Rope()
    activation: str = "silu"
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False
    embedding_scale: float = 1.0
    query_scale: float = 0.0
    norm_offset: bool = False
    post_norms: bool = False
    attn_softcap: float = 0.0
    logit_softcap: float = 0.0

    def __post_init__(self):
        if len(self.windows) != self.num_layers:
            raise SooError(f"config: {len(self.windows)} attention windows for {self.num_layers} layers")
        if self.num_heads % self.num_kv_heads:
            raise SooError(
                f"config: num_attention_heads {self.num_heads} is no multiple of "
                f"num_key_value_heads {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise SooError(f"config: head_dim must be even for rotary positions, not {self.head_dim}")

    @property
    def scale(self) -> float:
        """Factor on query-key products."""
        return self.query_scale or self.head_dim**-0.5


HF_ARCHITECTURES = {
    "MistralForCausalLM": "mistral",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Gemma2ForCausalLM": "gemma2",
}

# What transformers assumes where config.json is silent, per model_type.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096, "rms_norm_eps": 1e-6, "hidden_act": "silu"},
    "llama": {"rms_norm_eps": 1e-6, "hidden_act": "silu"},
    "qwen2": {
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    "gemma2": {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 256,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    },
}
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def read_config(folder: str | Path) -> DecoderConfig:
    """Reads ``config.json`` of a Hugging Face folder, in the Hub's dialect or in that of transformers 5.

    Raises:
      SooError: no such file, no JSON, an unsupported architecture, a missing or impossible setting.
    """
    path = Path(folder) / "config.json"
    raw = read_json(path)
    try:
        return config_from_hf(raw, where=str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SooError(f"{path}: a setting is missing or of the wrong kind ({said}); copy the file again") from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; one line of error that names the file otherwise."""
    if not path.is_file():
        raise SooError(f"{path}: no such file; a model is a Hugging Face folder with config.json and *.safetensors")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SooError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise SooError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def config_from_hf(raw: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """Turns the fields of a Hugging Face config into a :class:`DecoderConfig`."""
    architecture = _architecture(raw, where)
    given = {key: value for key, value in raw.items() if value is not None or key == "sliding_window"}
    hf = {**_DEFAULTS[architecture], **given}

    def number(key: str, default: Any = None) -> int:
        value = hf.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise SooError(f"{where}: {key} must be a positive whole number, found {value!r}")
        return value

    layers, heads, width = number("num_hidden_layers"), number("num_attention_heads"), number("hidden_size")
    act = hf.get("hidden_activation") or hf.get("hidden_act")
    if act not in _ACTIVATIONS:
        raise SooError(f"{where}: activation {act!r} is not supported; supported: {', '.join(_ACTIVATIONS)}")
    gemma = architecture == "gemma2"
    llama_bias = architecture == "llama" and bool(hf.get("attention_bias", False))
    return DecoderConfig(
        architecture=architecture,
        vocab_size=number("vocab_size"),
        width=width,
        mlp_width=number("intermediate_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", width // heads),
        max_positions=number("max_position_embeddings", 4096),
        windows=_windows(architecture, hf, layers, where),
        norm_eps=float(hf["rms_norm_eps"]),
        rope=_rope(hf, where),
        activation=_ACTIVATIONS[act],
        qkv_bias=architecture == "qwen2" or llama_bias,
        o_bias=llama_bias,
        mlp_bias=architecture == "llama" and bool(hf.get("mlp_bias", False)),
        tie_embeddings=bool(hf.get("tie_word_embeddings", False)),
        embedding_scale=width**0.5 if gemma else 1.0,
        query_scale=float(hf["query_pre_attn_scalar"]) ** -0.5 if gemma else 0.0,
        norm_offset=gemma,
        post_norms=gemma,
        attn_softcap=float(hf.get("attn_logit_softcapping", 0.0)) if gemma else 0.0,
        logit_softcap=float(hf.get("final_logit_softcapping", 0.0)) if gemma else 0.0,
    )


def _architecture(raw: Mapping[str, Any], where: str) -> str:
    names = raw.get("architectures") or []
    for name in names:
        if name in HF_ARCHITECTURES:
            return HF_ARCHITECTURES[name]
    if not names and raw.get("model_type") in _DEFAULTS:
        return raw["model_type"]
    found = ", ".join(map(str, names)) or repr(raw.get("model_type"))
    raise SooError(f"{where}: architecture {found} is not supported; supported: {', '.join(HF_ARCHITECTURES)}")


def _windows(architecture: str, hf: Mapping[str, Any], layers: int, where: str) -> tuple[int, ...]:
    window = hf.get("sliding_window")
    if architecture == "llama" or (architecture == "qwen2" and not hf["use_sliding_window"]):
        window = None
    kinds = hf.get("layer_types")
    if kinds is None:
        slides = {
            "mistral": lambda i: True,
            "llama": lambda i: False,
            "qwen2": lambda i: i >= hf["max_window_layers"],
            "gemma2": lambda i: i % 2 == 0,
        }[architecture]
        kinds = ["sliding_attention" if slides(i) else "full_attention" for i in range(layers)]
    if len(kinds) != layers or set(kinds) - {"sliding_attention", "full_attention"}:
        raise SooError(
            f"{where}: layer_types must name sliding_attention or full_attention for each of {layers} layers"
        )
    return tuple(int(window) if window and kind == "sliding_attention" else GLOBAL for kind in kinds)


def _rope(hf: Mapping[str, Any], where: str) -> Rope:
    raw = dict(hf.get("rope_scaling") or {})
    raw.update(hf.get("rope_parameters") or {})
    theta = float(raw.get("rope_theta", hf.get("rope_theta", 10000.0)))
    kind = raw.get("rope_type", raw.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, "linear", float(raw["factor"]))
    if kind == "llama3":
        return Rope(
            theta,
            "llama3",
            float(raw["factor"]),
            float(raw["low_freq_factor"]),
            float(raw["high_freq_factor"]),
            int(raw["original_max_position_embeddings"]),
        )
    raise SooError(f"{where}: rope type {kind!r} is not supported; supported: default, linear, llama3")
