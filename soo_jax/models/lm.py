"""A language model as this library handles it: config, parameters, tokenizer. Nothing of SOO."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from soo_jax.errors import SooError
from soo_jax.models import weights
from soo_jax.models.architectures import read_config
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Adapters, Params, forward, logical_axes, param_shapes
from soo_jax.models.formats.fused import parted
from soo_jax.models.formats.quantised import open_folder
from soo_jax.models.generate import bucket
from soo_jax.models.hub import HubModel, fetch_model, is_hub_name
from soo_jax.models.loading import fingerprint, held, load_params, settle_ties
from soo_jax.models.pretrained import MODELS, fetch
from soo_jax.models.probes import Probe, logits
from soo_jax.models.tokenizer import Tokenizer, load_tokenizer, stop_tokens
from soo_jax.parallel import param_shardings

ORGANISM = "organism"
"""The name under which the packaged model organism is loaded."""


@dataclass(frozen=True)
class LM:
    """A decoder with its tokenizer. The parameters are explicit: every function takes them as an argument.

    Attributes:
      config: static description. params: weights, on the devices of ``mesh`` if there is one.
      tokenizer: the model's. folder: where it came from.
      stop_tokens: ids that end an answer. known_as: the fingerprint of the weights, None where it is still to be taken.
      hub: the model on the Hub that it was fetched from, with its commit. called: a name of its own.
    """

    config: DecoderConfig
    params: Params
    tokenizer: Tokenizer
    folder: Path
    stop_tokens: tuple[int, ...]
    known_as: str | None
    mesh: Mesh | None = None
    hub: HubModel | None = None
    called: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the weights, by some numbers of every tensor: the same for a file and for what is read of it."""
        return self.known_as or fingerprint(held(self.folder, self.config, self.params), self.config)

    @property
    def name(self) -> str:
        """The name on the Hub, or the folder's name; for a packaged model its own."""
        if self.called is not None:
            return self.called
        if self.hub is not None:
            return self.hub.repo
        return ORGANISM if self.folder == organism_folder() else self.folder.name

    @property
    def identity(self) -> dict[str, str]:
        """What records of runs say of the model: name, architecture, fingerprint; the commit of one from the Hub, and
        how its kernels are held if they are quantised."""
        told = {"name": self.name, "architecture": self.config.architecture, "fingerprint": self.fingerprint}
        if weights.scheme(self.params) is not None:
            told["held_as"] = self.dtype
        return told if self.hub is None else {**told, "commit": self.hub.commit}

    @property
    def dtype(self) -> str:
        """The dtype that is computed in; where kernels are quantised with their scheme before it: ``nf4:bfloat16``."""
        wide, scheme = str(self.params["embedding"]["embedding"].dtype), weights.scheme(self.params)
        return wide if scheme is None else f"{scheme}:{wide}"

    @property
    def pad_token(self) -> int:
        """The id that fills what is no text; it is masked everywhere."""
        for candidate in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if candidate is not None:
                return int(candidate)
        return 0

    def forward(
        self,
        params: Params,
        tokens: Array,
        mask: Array,
        probes: tuple[Probe, ...] = (logits(),),
        *,
        adapters: Adapters | None = None,
        **kwargs: Any,
    ) -> dict[Probe, Array]:
        """:func:`soo_jax.models.decoder.forward` with this model's config.

        Raises:
          SooError: an id beyond the embedding, which JAX would take for the last row.
        """
        if not isinstance(tokens, jax.core.Tracer) and np.size(tokens):
            least, most = int(np.min(tokens)), int(np.max(tokens))
            if least < 0 or most >= self.config.vocab_size:
                raise SooError(
                    f"token id {least if least < 0 else most} is out of range: the embedding has "
                    f"{self.config.vocab_size} rows"
                )
        return forward(self.config, params, tokens, mask, tuple(probes), adapters=adapters, **kwargs)

    def with_params(self, params: Params, known_as: str | None = None) -> LM:
        """The same model with other parameters, e.g. merged ones.

        Args:
          known_as: the fingerprint that it goes by. Unless given it is that of the new numbers, as if they had been
            saved and loaded, so that adapters of other weights are refused. Quantised kernels do not tell of which
            weights they are: they go by the fingerprint that the model had.
        """
        kept = self.fingerprint if params is self.params or weights.scheme(params) is not None else None
        return replace(self, params=params, known_as=known_as or kept)

    def encode(
        self, texts: Sequence[str], *, width: int | None = None, new_tokens: int = 0, chat: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Left-padded ids ``[B, T]`` (int32) and mask ``[B, T]`` (bool) of texts.

        Args:
          width: T; by default the bucket that holds the longest text.
          new_tokens: room that must be left for an answer.
          chat: the texts were made by :meth:`as_chat` and hold their special tokens already.

        Raises:
          SooError: a text without a token, or one that does not fit the model's context or ``width``.
        """
        rows = self.token_ids(texts, chat=chat)
        room = self.config.max_positions - new_tokens
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise SooError(f"text {text!r} gives no token")
            if len(row) > min(room, width or room):
                limit = f"the context of {self.config.max_positions}" if len(row) > room else f"the width {width}"
                extra = f" with {new_tokens} new ones" if new_tokens else ""
                raise SooError(f"text of {len(row)} tokens does not fit {limit}{extra}: {text[:60]!r}...")
        return self.pad(rows, width or bucket(max(map(len, rows), default=1), room))

    def token_ids(self, texts: Sequence[str], *, chat: bool = False) -> list[list[int]]:
        """Ids of each text up to where it is continued: see :meth:`soo_jax.models.tokenizer.Tokenizer.prompt_ids`."""
        return self.tokenizer.prompt_ids(texts, chat=chat)

    def pad(self, rows: Sequence[Sequence[int]], width: int, batch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Left-padded ids and mask ``[B, width]``; B is ``batch`` (rows without text fill it up) or the rows given."""
        tokens = np.full((batch or len(rows), width), self.pad_token, np.int32)
        mask = np.zeros(tokens.shape, bool)
        for i, row in enumerate(rows):
            tokens[i, width - len(row) :] = row
            mask[i, width - len(row) :] = True
        return tokens, mask

    def as_chat(self, prompt: str, before: Sequence[tuple[str, str]] = ()) -> str:
        """The prompt as a user's message in the model's chat template, up to where the answer starts.

        Args:
          before: (message, answer) of earlier turns.
        """
        return self.tokenizer.as_chat(prompt, before)

    def put(self, text: str, chat: bool = False, lead: str = "") -> str:
        """A text as the model reads it: as it is or as a chat message, with the start of an answer behind it."""
        if chat:
            return self.as_chat(text) + lead
        return f"{text} {lead}" if lead else text

    @property
    def has_chat_template(self) -> bool:
        """Whether prompts can be put as chat messages."""
        return self.tokenizer.chat_template is not None

    def decode(self, tokens: np.ndarray) -> list[str]:
        """Texts of generated ids ``[B, N]``: up to the stop token, without special tokens."""
        texts = []
        for row in np.asarray(tokens):
            ends = np.flatnonzero(np.isin(row, self.stop_tokens))
            kept = row[: ends[0]] if ends.size else row
            texts.append(self.tokenizer.decode(kept, skip_special_tokens=True).strip())
        return texts


def load(folder: str | Path, dtype: str = "auto", mesh: Mesh | None = None) -> LM:
    """Loads a Hugging Face folder, a GGUF file, a model of the Hub, a small pretrained one, or the packaged organism.

    Args:
      folder: a path; ``org/name`` or ``org/name@revision`` on the Hub; a name of ``soo_jax.models.pretrained.MODELS``,
        which is fetched into the user's cache at first; or ``organism``. A path always wins.
      dtype: ``float32``, ``bfloat16``, ``float16``, ``stored``, or ``auto`` (as stored, but float32 on a CPU with
        memory for it). ``nf4`` and ``int8`` hold the weights of the layers in 4 or 8 bits, and the rest as ``auto``
        does; ``nf4:bfloat16`` names the dtype of the rest, in which is computed.
      mesh: devices to shard the weights over; each is read straight into its shards.

    Raises:
      SooError: whatever is wrong with the folder, in one line.
    """
    if is_hub_name(str(folder)):
        fetched = fetch_model(str(folder))
        return replace(load(fetched.folder, dtype, mesh), hub=fetched)
    folder = _place(folder)
    if folder.suffix == ".gguf":
        return _load_gguf(folder, dtype, mesh)
    if not folder.is_dir():
        raise SooError(
            f"{folder}: no such model; give a Hugging Face folder on disk, a GGUF file, org/name, {ORGANISM}, "
            f"or one of {', '.join(MODELS)}"
        )
    config = read_config(folder)
    with open_folder(folder) as opened:
        tensors = parted(opened, config)
        config = settle_ties(config, tensors)
        tokenizer = load_tokenizer(folder, config.vocab_size)
        params = load_params(tensors, config, dtype, _shardings(config, mesh))
        identity = fingerprint(tensors, config)
    return LM(config, params, tokenizer, folder, stop_tokens(folder, tokenizer), identity, mesh)


def config_of(model: str | Path) -> DecoderConfig:
    """The config of what :func:`load` would load, without its weights; of a model on the Hub one file is fetched.

    Raises:
      SooError: no such model, or a config that is not supported.
    """
    if is_hub_name(str(model)):
        return read_config(fetch_model(str(model), ("config.json",)).folder)
    folder = _place(model)
    if folder.suffix != ".gguf":
        return read_config(folder)
    from soo_jax.models.gguf import GgufModel

    with GgufModel(folder) as opened:
        return opened.config


def _place(model: str | Path) -> Path:
    """Where a model lies that is no name on the Hub."""
    if str(model) in MODELS and not Path(model).exists():
        return fetch(str(model), lambda line: print(f"soo: {line}", file=sys.stderr))
    return organism_folder() if str(model) == ORGANISM else Path(model)


def _load_gguf(path: Path, dtype: str, mesh: Mesh | None) -> LM:
    from soo_jax.models.gguf import GgufModel

    if not path.is_file():
        raise SooError(f"{path}: no such file; give a GGUF file, or a Hugging Face folder")
    with GgufModel(path) as model:
        tokenizer = model.tokenizer()
        params = load_params(model, model.config, dtype, _shardings(model.config, mesh))
        identity = fingerprint(model, model.config)
        stops = model.stop_tokens() or (() if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),))
    return LM(model.config, params, tokenizer, path, stops, identity, mesh)


def _shardings(config: DecoderConfig, mesh: Mesh | None) -> Params | None:
    return None if mesh is None else param_shardings(mesh, logical_axes(config), param_shapes(config))


def organism_folder() -> Path:
    """Where the packaged organism lies."""
    return Path(__file__).parent / "organism"


def param_bytes(params: Params) -> int:
    """Bytes that the parameters take over all devices."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(params))
