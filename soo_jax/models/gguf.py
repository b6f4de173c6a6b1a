"""A GGUF model as this library handles models: its config, its tensors by their Hugging Face names, its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from soo_jax.errors import SooError
from soo_jax.models.architectures import ARCHITECTURES, config_from_hf
from soo_jax.models.config import DecoderConfig
from soo_jax.models.formats.gguf import GgufReader
from soo_jax.models.tokenizer import Tokenizer, first_line

_ROOT = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK = re.compile(r"^blk\.(\d+)\.(\w+)\.(weight|bias)$")
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


class GgufModel:
    """A GGUF file opened as a model; a :class:`~soo_jax.models.formats.reader.TensorReader` of Hugging Face names.

    Attributes:
      folder: the file. config: of the decoder. raw: the same as fields of a ``config.json``.

    Raises:
      SooError: whatever is wrong with the file, in one line.
    """

    def __init__(self, path: str | Path):
        self._reader = GgufReader(path)
        self.folder = self._reader.folder
        name = self._told("general.architecture", str)
        known = {one.gguf.name: one for one in ARCHITECTURES.values() if one.gguf is not None}
        if name not in known:
            raise SooError(
                f"{self.folder}: the architecture {name!r} is not supported in GGUF; supported: {', '.join(known)}"
            )
        self._family, self._layout = known[name], known[name].gguf
        self._stored = {self._hf_name(own): own for own in self._reader.names}
        self.raw = self._config(name)
        self.config: DecoderConfig = config_from_hf(self.raw, where=str(self.folder))

    def __enter__(self) -> GgufModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    @property
    def names(self) -> Collection[str]:
        return self._stored.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._reader.shape(self._stored[name])

    def dtype(self, name: str) -> str:
        """One for all: float32 where anything is quantised, for norms are plain even then."""
        kinds = {self._reader.dtype(own) for own in self._reader.names if self._reader.shape(own)[1:]}
        return kinds.pop() if len(kinds) == 1 else "float32"

    def file(self, name: str) -> Path:
        return self._reader.file(self._stored[name])

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        own = self._stored[name]
        if self._layout.permuted and own.split(".")[-2] in ("attn_q", "attn_k"):
            values = _unpermuted(self._reader.read(own), self._heads(own))
            return values[index] if index else values
        values = self._reader.read(own, index)
        return values - 1 if self._layout.norm_offset and "norm" in own else values

    def describe(self, folder: Path) -> None:
        """Writes all of a Hugging Face folder but the weights: config, tokenizer with chat template, stop tokens."""
        tokenizer = self.tokenizer()
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        told = {name: value for name, value in ids.items() if value is not None}
        stops = list(self.stop_tokens()) or told.get("eos_token_id")
        _write_json(folder / "config.json", {**self.raw, **told, "torch_dtype": "float32"})
        _write_json(folder / "generation_config.json", {**told, "eos_token_id": stops, "do_sample": False})
        tokenizer.save_pretrained(folder)

    def stop_tokens(self) -> tuple[int, ...]:
        """Ids that end an answer, as the file tells them."""
        keys = [f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom")]
        return tuple(
            sorted({self._reader.metadata[key] for key in keys if isinstance(self._reader.metadata.get(key), int)})
        )

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the metadata describe, with chat template and special tokens.

        Raises:
          SooError: the file has none, or one of a kind that transformers does not know.
        """
        told = {k.removeprefix("tokenizer."): v for k, v in self._reader.metadata.items() if k.startswith("tokenizer.")}
        tokens = told.get("ggml.tokens")
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise SooError(f"{self.folder}: holds no tokenizer; convert the model anew, with its vocabulary")
        from transformers import PreTrainedTokenizerFast
        from transformers.integrations.gguf import GGUF_TOKENIZER_MAPPING, convert_gguf_tokenizer

        own = {name: told[key] for key, name in GGUF_TOKENIZER_MAPPING["tokenizer"].items() if key in told}
        special = {}
        for name, key in _SPECIAL.items():
            i = told.get(f"ggml.{key}_token_id")
            if isinstance(i, int) and 0 <= i < len(tokens):
                special[name] = tokens[i]
        begins = told.get("ggml.add_bos_token", told.get("ggml.model") == "llama")
        try:
            backend, _ = convert_gguf_tokenizer(self._reader.metadata["general.architecture"], own)
            wrapped = PreTrainedTokenizerFast(
                tokenizer_object=backend,
                add_bos_token=bool(begins),
                add_eos_token=bool(told.get("ggml.add_eos_token", False)),
                chat_template=told.get("chat_template"),
                clean_up_tokenization_spaces=False,
                **special,
            )
        except Exception as error:  # the tokenizer libraries raise bare Exceptions of many kinds
            raise SooError(f"{self.folder}: the tokenizer cannot be read ({first_line(error)})") from error
        return Tokenizer(wrapped, self.folder, self.config.vocab_size)

    def _hf_name(self, own: str) -> str:
        if own in _ROOT:
            return _ROOT[own]
        found = _BLOCK.match(own)
        module = self._layout.layer.get(found[2]) if found else None
        if module is None:
            hint = "rotary positions of Llama 3.1 are scaled by it; " if own == "rope_freqs.weight" else ""
            raise SooError(
                f"{self._reader.file(own)}: unexpected tensor {own}; {hint}use the model's Hugging Face folder instead"
            )
        return f"model.layers.{found[1]}.{module}.{found[3]}"

    def _told(self, key: str, kind: type) -> Any:
        value = self._reader.metadata.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise SooError(f"{self.folder}: its metadata have no {key}, or not of the right kind; use another file")
        return value

    def _config(self, name: str) -> dict[str, Any]:
        """The metadata as fields of a ``config.json``."""
        get = lambda key, default=None: self._reader.metadata.get(f"{name}.{key}", default)
        whole = lambda key: self._told(f"{name}.{key}", int)
        heads, width = whole("attention.head_count"), whole("embedding_length")
        if "token_embd.weight" not in self._reader.names:
            raise SooError(f"{self.folder}: has no token_embd.weight; use another file")
        raw: dict[str, Any] = {
            "architectures": [self._family.hf_class],
            "model_type": name,
            "vocab_size": self._reader.shape("token_embd.weight")[0],
            "hidden_size": width,
            "intermediate_size": whole("feed_forward_length"),
            "num_hidden_layers": whole("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": get("attention.head_count_kv", heads),
            "head_dim": get("attention.key_length", get("rope.dimension_count", width // max(heads, 1))),
            "max_position_embeddings": whole("context_length"),
            "rms_norm_eps": self._told(f"{name}.attention.layer_norm_rms_epsilon", float),
            "rope_theta": get("rope.freq_base", 10000.0),
            "tie_word_embeddings": "output.weight" not in self._reader.names,
        }
        if get("rope.scaling.type", "none") == "linear":
            raw["rope_scaling"] = {"rope_type": "linear", "factor": get("rope.scaling.factor", 1.0)}
        elif get("rope.scaling.type", "none") != "none":
            raise SooError(f"{self.folder}: rope scaling {get('rope.scaling.type')!r} is not supported in GGUF")
        return {**raw, **self._layout.settings(get, raw)}

    def _heads(self, own: str) -> int:
        return self.config.num_heads if ".attn_q." in own else self.config.num_kv_heads


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _unpermuted(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows from the interleaved order of rotary pairs to the order of halves."""
    each = values.shape[0] // heads
    return values.reshape(heads, each // 2, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
