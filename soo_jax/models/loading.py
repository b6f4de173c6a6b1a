"""From named tensors to stacked parameters and back: an architecture says where they lie, a format reads them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from soo_jax.errors import SooError, SooWarning
from soo_jax.models.architectures import architecture
from soo_jax.models.architectures.family import ROOT
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, param_shapes
from soo_jax.models.formats import DTYPES, SafetensorsReader, TensorReader, write_safetensors

LeafPath = tuple[str, ...]

_IGNORED = re.compile(r"\.rotary_emb\.inv_freq$")
_TRANSPOSED = ("kernel", "lm_head")
_EMBEDDING, _HEAD = ROOT["embedding", "embedding"], ROOT["embedding", "lm_head"]
_CHUNK = 1 << 14  # rows of an embedding that are compared at once
_SAMPLE = 64  # numbers of each tensor that the fingerprint looks at


def leaf_names(config: DecoderConfig) -> dict[LeafPath, list[str]]:
    """For every leaf of the parameters, by path, the names of the tensors that make it up: one, or one a layer."""
    table = architecture(config.architecture).layer_tensors
    names = {}
    for path, _ in _leaves(param_shapes(config)):
        if path[0] == "layers":
            names[path] = [table[path[1:]].format(i) for i in range(config.num_layers)]
        else:
            names[path] = [ROOT[path]]
    return names


def settle_ties(config: DecoderConfig, tensors: TensorReader) -> DecoderConfig:
    """The config with ``tie_embeddings`` as the weights have it.

    Where a config ties the head to the embedding and the file holds a head of its own, the head counts, as in
    transformers; a warning says so.
    """
    if not config.tie_embeddings or not {_EMBEDDING, _HEAD} <= set(tensors.names):
        return config
    if _equal(tensors, _EMBEDDING, _HEAD):
        return config
    warnings.warn(
        f"{tensors.folder}: config.json ties {_HEAD} to the embedding, but the file holds another one; the stored one "
        "is used, as in transformers",
        SooWarning,
        stacklevel=2,
    )
    return replace(config, tie_embeddings=False)


def _equal(tensors: TensorReader, one: str, other: str) -> bool:
    if tensors.shape(one) != tensors.shape(other):
        return False
    starts = range(0, tensors.shape(one)[0], _CHUNK)
    ends = (min(start + _CHUNK, tensors.shape(one)[0]) for start in starts)
    rows = ((slice(start, end), slice(None)) for start, end in zip(starts, ends, strict=True))
    wide = lambda name, index: tensors.read(name, index).astype(np.float32)
    return all(np.array_equal(wide(one, index), wide(other, index)) for index in rows)


def load_params(
    tensors: TensorReader | str | Path, config: DecoderConfig, dtype: str = "auto", shardings: Params | None = None
) -> Params:
    """Reads weights into stacked parameters, each put straight into its shards.

    Tensors are read one at a time; beside the model itself only the leaf in the making is held in memory.

    Args:
      tensors: a reader, or a folder of safetensors. config: after :func:`settle_ties`.
      dtype: ``float32``, ``bfloat16``, ``float16``, ``stored`` (that of the files), or ``auto``: that of the files too,
        but float32 on a CPU with memory for it, which computes faster in it; a warning says so.
      shardings: tree of ``jax.sharding.Sharding`` like the parameters; by default all on the first device.

    Raises:
      SooError: no or foreign weight files, a truncated file, a missing, unexpected or misshapen tensor.
    """
    if isinstance(tensors, str | Path):
        with SafetensorsReader(tensors) as opened:
            return load_params(opened, config, dtype, shardings)
    if dtype not in ("auto", "stored", *DTYPES):
        raise SooError(f"dtype {dtype!r} is not supported; choose auto, stored, {', '.join(DTYPES)}")
    names = leaf_names(config)
    if config.tie_embeddings and _EMBEDDING not in tensors.names:
        names["embedding", "embedding"] = [_HEAD]  # a tied model may be stored under either name
    shapes = dict(_leaves(param_shapes(config)))
    _check(tensors, names, shapes, config)
    placed = dict(_leaves(shardings)) if shardings is not None else {}
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if dtype in ("auto", "stored"):
        stored, widen = _stored_dtype(tensors, names), dtype == "auto"
        on_cpu = all(device.platform == "cpu" for device in (next(iter(placed.values()), here)).device_set)
        weights = sum(int(np.prod(shape.shape)) for shape in shapes.values())
        dtype = _widened(tensors, stored, weights) if widen and on_cpu else stored
    target = np.dtype(DTYPES[dtype])
    leaves = {}
    for path, parts in names.items():
        read = _reader(tensors, parts, path[0] == "layers", path[-1] in _TRANSPOSED, target)
        leaves[path] = jax.make_array_from_callback(shapes[path].shape, placed.get(path, here), read)
    return _tree(leaves)


def _check(
    tensors: TensorReader, names: Mapping[LeafPath, list[str]], shapes: Mapping[LeafPath, Any], config: DecoderConfig
) -> None:
    wanted = {name for parts in names.values() for name in parts}
    tied = {_EMBEDDING, _HEAD} if config.tie_embeddings else set()
    for name in tensors.names:
        if name not in wanted | tied and not _IGNORED.search(name):
            raise SooError(
                f"{tensors.file(name)}: unexpected tensor {name}; config.json does not describe these weights"
            )
    for path, parts in names.items():
        shape = shapes[path].shape[1:] if path[0] == "layers" else shapes[path].shape
        shape = tuple(reversed(shape)) if path[-1] in _TRANSPOSED else tuple(shape)
        for name in parts:
            if name not in tensors.names:
                raise SooError(f"{tensors.folder}: tensor {name} is missing; a weight file or config.json is wrong")
            if tensors.shape(name) != shape:
                raise SooError(
                    f"{tensors.file(name)}: {name} has shape {tensors.shape(name)}, but config.json asks for {shape}"
                )
            if tensors.dtype(name) not in DTYPES:
                raise SooError(
                    f"{tensors.file(name)}: {name} is stored as {tensors.dtype(name)}; supported: {', '.join(DTYPES)}"
                )


def _stored_dtype(tensors: TensorReader, names: Mapping[LeafPath, list[str]]) -> str:
    """The dtype of the files; where they hold several, float32, which holds the values of all."""
    found = sorted({tensors.dtype(name) for parts in names.values() for name in parts})
    if len(found) == 1:
        return found[0]
    warnings.warn(
        f"{tensors.folder}: weights are stored as {' and '.join(found)}; float32 is used, --dtype chooses otherwise",
        SooWarning,
        stacklevel=2,
    )
    return "float32"


def _widened(tensors: TensorReader, stored: str, weights: int) -> str:
    """``float32`` where half-precision weights fit into memory in it with room to work, else as they are stored."""
    if stored == "float32" or 4 * weights * 1.5 > free_bytes():
        return stored
    warnings.warn(
        f"{tensors.folder}: stored as {stored}, loaded as float32, in which a CPU is faster; --dtype {stored} keeps it",
        SooWarning,
        stacklevel=2,
    )
    return "float32"


def free_bytes() -> int:
    """Memory of the machine that is free or can be freed at once; 0 where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _reader(tensors: TensorReader, parts: list[str], stacked: bool, transposed: bool, dtype: np.dtype) -> Callable:
    """A function from an index into the leaf to its values, which reads no more of the files than that."""

    def read_one(name: str, index: tuple[slice, ...]) -> np.ndarray:
        values = tensors.read(name, tuple(reversed(index)) if transposed else index)
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


def fingerprint(tensors: TensorReader, config: DecoderConfig) -> str:
    """Identifies base weights without reading all of them: some numbers of every tensor that the model uses.

    What is hashed is the model: a file that was saved with another dtype of the same values, in other shards, with a
    copy of a tied head or with ``inv_freq`` has the same fingerprint.
    """
    digest = hashlib.sha256()
    for path, parts in sorted(leaf_names(config).items()):
        for name in parts:
            if path == ("embedding", "lm_head") and _EMBEDDING in tensors.names and _equal(tensors, _EMBEDDING, name):
                continue  # a copy of the embedding, tied or not
            stored = name if name in tensors.names else _HEAD
            shape = tensors.shape(stored)
            corner = (slice(0, 1),) * (len(shape) - 1) + (slice(0, min(_SAMPLE, shape[-1])),)
            digest.update(json.dumps([name, shape]).encode())
            digest.update(np.ascontiguousarray(tensors.read(stored, corner), np.float32).tobytes())
    return digest.hexdigest()[:32]


def save_weights(
    folder: Path, config: DecoderConfig, params: Params, dtype: str | None = None, shard_bytes: int = 5 * 10**9
) -> None:
    """Writes parameters as safetensors under their Hugging Face names."""
    cast = lambda value: value.astype(DTYPES[dtype]) if dtype else value
    write_safetensors(folder, ((name, cast(value)) for name, value in hf_tensors(config, params)), shard_bytes)


def hf_tensors(config: DecoderConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters one Hugging Face tensor at a time."""
    leaves = dict(_leaves(params))
    for path, parts in leaf_names(config).items():
        for i, name in enumerate(parts):
            value = np.asarray(leaves[path][i] if path[0] == "layers" else leaves[path])
            yield name, value.T if path[-1] in _TRANSPOSED else value


def _leaves(tree: Any, path: LeafPath = ()) -> Iterator[tuple[LeafPath, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _tree(leaves: Mapping[LeafPath, Any]) -> Params:
    root: dict[str, Any] = {}
    for path, value in leaves.items():
        node = root
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return root
