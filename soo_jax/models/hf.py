"""Hugging Face folders: one table per architecture, read tensor by tensor into place, and written back.

Only safetensors are read. Nothing in a folder is ever unpickled or executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from soo_jax.errors import SooError
from soo_jax.models.config import HF_ARCHITECTURES, DecoderConfig, read_json
from soo_jax.models.decoder import Params, param_shapes

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_IGNORED = re.compile(r"\.rotary_emb\.inv_freq$")

# Where each of our leaves lies in a Hugging Face folder. A kernel [in, out] is stored there as weight [out, in].
_EMBEDDING = {
    ("embedding", "embedding"): "model.embed_tokens.weight",
    ("embedding", "final_norm", "scale"): "model.norm.weight",
    ("embedding", "lm_head"): "lm_head.weight",
}
_PROJECTIONS = {
    **{(p, "kernel"): f"model.layers.{{}}.self_attn.{p}.weight" for p in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{(p, "bias"): f"model.layers.{{}}.self_attn.{p}.bias" for p in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{(p, "kernel"): f"model.layers.{{}}.mlp.{p}.weight" for p in ("gate_proj", "up_proj", "down_proj")},
    **{(p, "bias"): f"model.layers.{{}}.mlp.{p}.bias" for p in ("gate_proj", "up_proj", "down_proj")},
    ("input_norm", "scale"): "model.layers.{}.input_layernorm.weight",
}
_TWO_NORMS = {("mlp_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight"}
_FOUR_NORMS = {
    ("post_attn_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight",
    ("mlp_norm", "scale"): "model.layers.{}.pre_feedforward_layernorm.weight",
    ("post_mlp_norm", "scale"): "model.layers.{}.post_feedforward_layernorm.weight",
}
TABLES: dict[str, Mapping[tuple[str, ...], str]] = {
    "mistral": {**_PROJECTIONS, **_TWO_NORMS},
    "llama": {**_PROJECTIONS, **_TWO_NORMS},
    "qwen2": {**_PROJECTIONS, **_TWO_NORMS},
    "gemma2": {**_PROJECTIONS, **_FOUR_NORMS},
}
_TRANSPOSED = ("kernel", "lm_head")


def leaf_names(config: DecoderConfig) -> dict[tuple[str, ...], list[str]]:
    """For every leaf of the parameters, by path, the names of the tensors that make it up: one, or one a layer."""
    table = TABLES[config.architecture]
    names = {}
    for path, _ in _leaves(param_shapes(config)):
        if path[0] == "layers":
            names[path] = [table[path[1:]].format(i) for i in range(config.num_layers)]
        else:
            names[path] = [_EMBEDDING[path]]
    return names


def load_params(
    folder: str | Path, config: DecoderConfig, dtype: str = "auto", shardings: Params | None = None
) -> Params:
    """Reads the weights of a folder into stacked parameters, each put straight into its shards.

    Tensors are read one at a time; beside the model itself only the leaf in the making is held in memory.

    Args:
      dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for the dtype of the files.
      shardings: tree of ``jax.sharding.Sharding`` like the parameters; by default all on the first device.

    Raises:
      SooError: no or foreign weight files, a truncated file, a missing, unexpected or misshapen tensor.
    """
    folder = Path(folder)
    if dtype != "auto" and dtype not in DTYPES:
        raise SooError(f"dtype {dtype!r} is not supported; choose auto, {', '.join(DTYPES)}")
    names = leaf_names(config)
    shapes = dict(_leaves(param_shapes(config)))
    placed = dict(_leaves(shardings)) if shardings is not None else {}
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ExitStack() as stack:
        tensors = _Tensors(folder, stack)
        tensors.check(names, shapes, config)
        target = np.dtype(DTYPES[tensors.dtype(names) if dtype == "auto" else dtype])
        leaves = {}
        for path, parts in names.items():
            read = tensors.reader(parts, path[0] == "layers", path[-1] in _TRANSPOSED, target)
            leaves[path] = jax.make_array_from_callback(shapes[path].shape, placed.get(path, here), read)
    return _tree(leaves)


class _Tensors:
    """The tensors of all weight files of a folder, by name."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.where: dict[str, Any] = {}
        self.file: dict[str, Path] = {}
        for path in weight_files(folder):
            try:
                opened = stack.enter_context(safe_open(path, "numpy"))
            except (SafetensorError, OSError) as error:
                raise SooError(f"{path}: truncated or not safetensors ({error}); copy the file again") from error
            for name in opened.keys():  # noqa: SIM118 - not a dict
                self.where[name], self.file[name] = opened, path
        self.folder = folder

    def check(self, names: Mapping[tuple, list[str]], shapes: Mapping[tuple, Any], config: DecoderConfig) -> None:
        wanted = {name for parts in names.values() for name in parts}
        tied = {"lm_head.weight"} if config.tie_embeddings else set()
        for name in self.where:
            if name not in wanted | tied and not _IGNORED.search(name):
                raise SooError(
                    f"{self.file[name]}: unexpected tensor {name}; config.json does not describe these weights"
                )
        for path, parts in names.items():
            shape = shapes[path].shape[1:] if path[0] == "layers" else shapes[path].shape
            shape = tuple(reversed(shape)) if path[-1] in _TRANSPOSED else tuple(shape)
            for name in parts:
                if name not in self.where:
                    raise SooError(f"{self.folder}: tensor {name} is missing; a weight file or config.json is wrong")
                piece = self.where[name].get_slice(name)
                if tuple(piece.get_shape()) != shape:
                    raise SooError(
                        f"{self.file[name]}: {name} has shape {tuple(piece.get_shape())}, "
                        f"but config.json asks for {shape}"
                    )
                if piece.get_dtype() not in _STORED:
                    raise SooError(
                        f"{self.file[name]}: {name} is stored as {piece.get_dtype()}; supported: {', '.join(_STORED)}"
                    )

    def dtype(self, names: Mapping[tuple, list[str]]) -> str:
        name = names["embedding", "embedding"][0]
        return _STORED[self.where[name].get_slice(name).get_dtype()]

    def reader(self, parts: list[str], stacked: bool, transposed: bool, dtype: np.dtype) -> Callable:
        """A function from an index into the leaf to its values, which reads no more of the files than that."""

        def read_one(name: str, index: tuple[slice, ...]) -> np.ndarray:
            ours = tuple(reversed(index)) if transposed else index
            values = self.where[name].get_slice(name)[ours]
            return (values.T if transposed else values).astype(dtype, copy=False)

        def read(index: tuple[slice, ...]) -> np.ndarray:
            if not stacked:
                return np.ascontiguousarray(read_one(parts[0], index))
            chosen = parts[index[0]]
            first = read_one(chosen[0], index[1:])
            out = np.empty((len(chosen), *first.shape), dtype)
            out[0] = first
            for row, name in enumerate(chosen[1:], 1):
                out[row] = read_one(name, index[1:])
            return out

        return read


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, single or sharded with an index."""
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise SooError(f"{folder / INDEX}: no weight_map from tensors to files; copy the file again")
        files = []
        for name in sorted(set(shards.values())):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise SooError(
                    f"{folder / INDEX}: {name!r} is no safetensors file inside this folder; use the model's own index"
                )
            if not (folder / name).is_file():
                raise SooError(f"{folder / name}: named by {INDEX} but missing; copy the file into the folder")
            files.append(folder / name)
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickles:
        raise SooError(
            f"{pickles[0]}: pickled weights are never loaded; convert them on a machine that trusts them with "
            f"AutoModelForCausalLM.from_pretrained(...).save_pretrained(...), which writes safetensors"
        )
    raise SooError(f"{folder}: no {SINGLE} and no {INDEX}; a model folder holds its weights as safetensors")


def save_weights(
    folder: Path,
    config: DecoderConfig,
    params: Params,
    dtype: str | None = None,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Writes parameters as safetensors under their Hugging Face names, sharded with an index where they are large.

    At most one shard of ``shard_bytes`` is held in host memory.
    """
    parts: list[tuple[Path, list[str]]] = []
    shard: dict[str, np.ndarray] = {}
    size = 0

    def flush():
        nonlocal shard, size
        path = folder / f"shard-{len(parts)}.safetensors"
        save_file(shard, path, metadata={"format": "pt"})
        parts.append((path, list(shard)))
        shard, size = {}, 0

    total = 0
    for name, value in hf_tensors(config, params):
        array = np.ascontiguousarray(value.astype(DTYPES[dtype]) if dtype else value)
        if shard and size + array.nbytes > shard_bytes:
            flush()
        shard[name] = array
        size += array.nbytes
        total += array.nbytes
    flush()
    if len(parts) == 1:
        parts[0][0].rename(folder / SINGLE)
        return
    weight_map = {}
    for i, (path, held) in enumerate(parts):
        final = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        path.rename(folder / final)
        weight_map.update(dict.fromkeys(held, final))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def hf_tensors(config: DecoderConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters one Hugging Face tensor at a time."""
    leaves = dict(_leaves(params))
    for path, parts in leaf_names(config).items():
        for i, name in enumerate(parts):
            value = np.asarray(leaves[path][i] if path[0] == "layers" else leaves[path])
            yield name, value.T if path[-1] in _TRANSPOSED else value


def hf_config(config: DecoderConfig, dtype: str = "float32") -> dict[str, Any]:
    """A ``config.json`` for parameters that were made here (a trained organism, a random test model)."""
    names = {ours: theirs for theirs, ours in HF_ARCHITECTURES.items()}
    raw: dict[str, Any] = {
        "architectures": [names[config.architecture]],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope.theta,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "torch_dtype": dtype,
    }
    if config.architecture == "mistral":
        windows = set(config.windows)
        if len(windows) > 1:
            raise SooError("config: Mistral has one sliding window for all layers")
        window = windows.pop()
        raw["sliding_window"] = None if window > config.max_positions else window
    elif config.architecture != "llama":
        raise SooError(
            f"config: writing a fresh config.json is supported for mistral and llama, not "
            f"{config.architecture}; copy the base model's"
        )
    return raw


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _tree(leaves: Mapping[tuple[str, ...], Any]) -> Params:
    root: dict[str, Any] = {}
    for path, value in leaves.items():
        node = root
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return root
