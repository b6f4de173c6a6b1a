"""From named tensors to stacked parameters and back: an architecture says where they lie, a format reads them."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.machine import aligned, free_bytes
from soo_jax.models.architectures import architecture
from soo_jax.models.architectures.family import ROOT
from soo_jax.models.config import PROJECTIONS, DecoderConfig
from soo_jax.models.decoder import Params, param_shapes
from soo_jax.models.formats import DTYPES, SafetensorsReader, TensorReader, write_safetensors
from soo_jax.models.formats.fused import parted
from soo_jax.models.formats.held import Held, HeldReader
from soo_jax.models.formats.quantised import CODES, SCALES, QuantisedReader
from soo_jax.models.quantised import BLOCK, SCHEMES, Quantised, layout, quantise

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
        but float32 on a CPU with memory for it, which computes faster in it; a warning says so. ``nf4`` and ``int8``
        quantise the kernels of the layers as they are read, one tensor after the other, and hold the rest as ``auto``
        would; ``nf4:bfloat16`` names the dtype of the rest.
      shardings: tree of ``jax.sharding.Sharding`` like the parameters; by default all on the first device.

    Raises:
      SooError: no or foreign weight files, a truncated file, a missing, unexpected or misshapen tensor.
    """
    if isinstance(tensors, str | Path):
        with SafetensorsReader(tensors) as opened:
            return load_params(parted(opened, config), config, dtype, shardings)
    scheme, dtype = parse_dtype(dtype)
    stored_scheme = tensors.scheme if isinstance(tensors, QuantisedReader) else None
    if stored_scheme and scheme not in (None, stored_scheme):
        raise SooError(f"{tensors.folder}: holds {stored_scheme}, not {scheme}; make it anew from the wide model")
    scheme = stored_scheme or scheme
    names = leaf_names(config)
    if config.tie_embeddings and _EMBEDDING not in tensors.names:
        names["embedding", "embedding"] = [_HEAD]  # a tied model may be stored under either name
    shapes = dict(_leaves(param_shapes(config)))
    _check(tensors, names, shapes, config, stored_scheme)
    placed = dict(_leaves(shardings)) if shardings is not None else {}
    here = SingleDeviceSharding(jax.local_devices()[0])
    if dtype in ("auto", "stored"):
        wide = {path: parts for path, parts in names.items() if not (stored_scheme and _is_kernel(path))}
        stored, widen = _stored_dtype(tensors, wide), dtype == "auto"
        on_cpu = all(device.platform == "cpu" for device in (next(iter(placed.values()), here)).device_set)
        weights = sum(int(np.prod(leaf.shape)) for path, leaf in shapes.items() if not (scheme and _is_kernel(path)))
        dtype = _widened(tensors, stored, weights) if widen and on_cpu else stored
    target = np.dtype(DTYPES[dtype])
    leaves = {}
    for path, parts in names.items():
        where = placed.get(path, here)
        if scheme and _is_kernel(path):
            read_leaf = _read_quantised if stored_scheme else _quantise
            leaves[path] = read_leaf(tensors, parts, shapes[path].shape, scheme, where)
            continue
        read = _reader(tensors, parts, path[0] == "layers", path[-1] in _TRANSPOSED, target)
        leaves[path] = _put(shapes[path].shape, where, read)
    return _tree(leaves)


def _put(shape: tuple[int, ...], where: Sharding, read: Callable) -> Array:
    """What ``read`` gives, in its place; on one CPU that is the very memory into which it was read."""
    if isinstance(where, SingleDeviceSharding) and (device := next(iter(where.device_set))).platform == "cpu":
        return jax.device_put(read((slice(None),) * len(shape)), device, may_alias=True)
    return jax.make_array_from_callback(shape, where, read)


_SHORT = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def parse_dtype(text: str) -> tuple[str | None, str]:
    """The scheme in which kernels are held, or None, and the dtype of the rest.

    Raises:
      SooError: neither a dtype nor a scheme.
    """
    scheme, _, rest = text.partition(":") if text.partition(":")[0] in SCHEMES else ("", "", text)
    rest = _SHORT.get(rest, rest) or "auto"
    if rest not in ("auto", "stored", *DTYPES):
        raise SooError(
            f"dtype {text!r} is not supported; choose auto, stored, {', '.join([*DTYPES, *SCHEMES])}, or a scheme with "
            f"the dtype of the rest: {SCHEMES[0]}:bfloat16"
        )
    return scheme or None, rest


def _is_kernel(path: LeafPath) -> bool:
    return path[0] == "layers" and path[-1] == "kernel"


def _quantise(
    tensors: TensorReader, parts: list[str], shape: tuple[int, ...], scheme: str, where: Sharding
) -> Quantised:
    """A stacked kernel ``[L, in, out]``, quantised layer by layer: one wide tensor exists at a time."""
    inputs = shape[-2]
    placing = _placing(shape, scheme, where)
    made: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}
    pieces: tuple[list[Array], list[Array]] = ([], [])
    codes_shape, scales_shape = layout(shape, scheme)
    for device, index in placing.addressable_devices_indices_map(codes_shape).items():
        layers, blocks, _, out = (one.indices(size)[:2] for one, size in zip(index, codes_shape, strict=True))
        if (here := (layers, blocks, out)) not in made:
            rows = slice(blocks[0] * BLOCK, min(blocks[1] * BLOCK, inputs))
            read = _reader(tensors, parts, True, True, np.dtype(np.float32))
            count = layers[1] - layers[0]
            own = (count, rows.stop - rows.start, out[1] - out[0])
            held = layout(own, scheme)
            codes = np.empty(held[0], np.uint8 if scheme == "nf4" else np.int8)
            scales = np.empty(held[1], DTYPES["bfloat16"])
            for i in range(count):
                one = read((slice(layers[0] + i, layers[0] + i + 1), rows, slice(*out)))[0]
                small = quantise(one, scheme)
                codes[i], scales[i] = np.asarray(small.codes), np.asarray(small.scales)
            made[here] = codes, scales
        for piece, values in zip(pieces, made[here], strict=True):
            piece.append(jax.device_put(values, device))
    codes, scales = (
        jax.make_array_from_single_device_arrays(full, placing, piece)
        for full, piece in zip((codes_shape, scales_shape), pieces, strict=True)
    )
    return Quantised(codes, scales, scheme, inputs)


def _read_quantised(
    tensors: TensorReader, parts: list[str], shape: tuple[int, ...], scheme: str, where: Sharding
) -> Quantised:
    """A stacked kernel whose codes and scales are stored."""
    placing = _placing(shape, scheme, where)
    codes, scales = (
        jax.make_array_from_callback(
            full, placing, _reader(tensors, [name + ending for name in parts], True, False, np.dtype(kind))
        )
        for full, ending, kind in zip(
            layout(shape, scheme),
            (CODES, SCALES),
            (np.uint8 if scheme == "nf4" else np.int8, DTYPES["bfloat16"]),
            strict=True,
        )
    )
    return Quantised(codes, scales, scheme, shape[-2])


def _placing(shape: tuple[int, ...], scheme: str, where: Sharding) -> Sharding:
    """Where codes and scales ``[L, blocks, ., out]`` go, for a wide kernel ``[L, in, out]`` that would go ``where``.

    Blocks stay whole; where they do not divide evenly among devices, that axis is not split.
    """
    if not isinstance(where, NamedSharding):
        return where
    layers, inputs, out = (*where.spec, None, None, None)[:3]
    names = (inputs,) if isinstance(inputs, str) else inputs or ()
    blocks = layout(shape, scheme)[0][-3]
    if blocks % int(np.prod([where.mesh.shape[name] for name in names])):
        inputs = None
    return NamedSharding(where.mesh, PartitionSpec(layers, inputs, None, out))


def _check(
    tensors: TensorReader,
    names: Mapping[LeafPath, list[str]],
    shapes: Mapping[LeafPath, Any],
    config: DecoderConfig,
    scheme: str | None,
) -> None:
    """Raises SooError unless the tensors are those that the config asks for, kernels as codes and scales if stored in a
    scheme."""
    expected: list[tuple[str, tuple[int, ...], Collection[str]]] = []
    for path, parts in names.items():
        shape = tuple(shapes[path].shape[1:] if path[0] == "layers" else shapes[path].shape)
        if scheme and _is_kernel(path):
            codes, scales = layout(shape, scheme)
            kind = {"nf4": "U8", "int8": "I8"}[scheme]
            expected += [(name + CODES, codes, (kind,)) for name in parts]
            expected += [(name + SCALES, scales, ("bfloat16",)) for name in parts]
        else:
            expected += [(name, shape[::-1] if path[-1] in _TRANSPOSED else shape, DTYPES) for name in parts]
    wanted = {name for name, _, _ in expected}
    tied = {_EMBEDDING, _HEAD} if config.tie_embeddings else set()
    for name in tensors.names:
        if name not in wanted | tied and not _IGNORED.search(name):
            raise SooError(
                f"{tensors.file(name)}: unexpected tensor {name}; config.json does not describe these weights"
            )
    for name, shape, kinds in expected:
        if name not in tensors.names:
            raise SooError(f"{tensors.folder}: tensor {name} is missing; a weight file or config.json is wrong")
        if tensors.shape(name) != shape:
            raise SooError(
                f"{tensors.file(name)}: {name} has shape {tensors.shape(name)}, but config.json asks for {shape}"
            )
        if tensors.dtype(name) not in kinds:
            raise SooError(
                f"{tensors.file(name)}: {name} is stored as {tensors.dtype(name)}; supported: {', '.join(kinds)}"
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


def _reader(tensors: TensorReader, parts: list[str], stacked: bool, transposed: bool, dtype: np.dtype) -> Callable:
    """A function from an index into the leaf to its values, which reads no more of the files than that."""

    def read_one(name: str, index: tuple[slice, ...]) -> np.ndarray:
        values = tensors.read(name, tuple(reversed(index)) if transposed else index)
        return (values.T if transposed else values).astype(dtype, copy=False)

    def read(index: tuple[slice, ...]) -> np.ndarray:
        chosen, own = (parts[index[0]], index[1:]) if stacked else (parts, index)
        first = read_one(chosen[0], own)
        out = aligned((len(chosen), *first.shape), dtype)
        out[0] = first
        del first
        for row, name in enumerate(chosen[1:], 1):
            out[row] = read_one(name, own)
        return out if stacked else out[0]

    return read


def fingerprint(tensors: TensorReader, config: DecoderConfig) -> str:
    """Identifies base weights without reading all of them: some numbers of every tensor that the model uses.

    What is hashed is the model: a file that was saved with another dtype of the same values, in other shards, with a
    copy of a tied head or with ``inv_freq`` has the same fingerprint. A quantised folder has that of the wide model.
    """
    if isinstance(tensors, QuantisedReader):
        return tensors.fingerprint
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


def held(folder: Path, config: DecoderConfig, params: Params) -> HeldReader:
    """Wide parameters as the tensors that a file of this model has."""
    leaves = dict(_leaves(params))
    return HeldReader(folder, {
        name: Held(leaves[path], i if path[0] == "layers" else None, path[-1] in _TRANSPOSED)
        for path, parts in leaf_names(config).items()
        for i, name in enumerate(parts)
    })  # fmt: skip


def save_weights(
    folder: Path, config: DecoderConfig, params: Params, dtype: str | None = None, shard_bytes: int = 5 * 10**9
) -> None:
    """Writes parameters as safetensors under their Hugging Face names; a quantised kernel as codes and scales."""
    cast = lambda value: value.astype(DTYPES[dtype]) if dtype else value
    write_safetensors(folder, ((name, cast(value)) for name, value in hf_tensors(config, params)), shard_bytes)


def hf_tensors(config: DecoderConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters one Hugging Face tensor at a time."""
    leaves = dict(_leaves(params))
    kernel = lambda name: leaves["layers", name, "kernel"]
    fused = architecture(config.architecture).fused
    fused = {} if isinstance(kernel(PROJECTIONS[0]), Quantised) else fused
    for module, parts in fused.items():
        for i in range(config.num_layers):
            rows = [whole(kernel(part)[i]).T for part in parts]
            yield f"model.layers.{i}.{module}.weight", np.concatenate(rows)
    inside = {("layers", part, "kernel") for parts in fused.values() for part in parts}
    for path, parts in leaf_names(config).items():
        if path in inside:
            continue
        leaf = leaves[path]
        for i, name in enumerate(parts):
            if isinstance(leaf, Quantised):
                yield name + CODES, whole(leaf.codes[i])
                yield name + SCALES, whole(leaf.scales[i])
                continue
            value = whole(leaf[i] if path[0] == "layers" else leaf)
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
