"""A model's tokenizer: read without running anything, and what a prompt is to it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import read_json

PROBES = ("a", "the", "A", ".", "0")
"""Texts on which it is seen what a tokenizer puts behind a text."""


MOST_KNOWN = 1 << 16
"""Texts whose ids are remembered."""
_OWN = ("wrapped", "folder", "vocab_size", "_known")


class Tokenizer:
    """A transformers tokenizer as this library uses it. What it does not define is passed on.

    Attributes:
      wrapped: the transformers tokenizer. folder: where it came from, for messages.
      vocab_size: rows of the model's embedding; an id beyond them is refused.
    """

    def __init__(self, wrapped: Any, folder: Path, vocab_size: int):
        self.wrapped, self.folder, self.vocab_size = wrapped, folder, vocab_size
        self._known = {}

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # asked before it is set, when a copy is made
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:  # a chat template, say
            setattr(self.wrapped, name, value)
            self._known.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.wrapped(*args, **kwargs)

    @cached_property
    def appended(self) -> int:
        """How many special tokens the tokenizer puts behind every text (``add_eos_token`` and the like)."""
        for probe in PROBES:
            bare = self.wrapped(probe, add_special_tokens=False)["input_ids"]
            whole = self.wrapped(probe)["input_ids"]
            for start in range(len(whole) - len(bare) + 1):
                if bare and whole[start : start + len(bare)] == bare:
                    return len(whole) - start - len(bare)
        return 0

    def prompt_ids(self, texts: Sequence[str], *, chat: bool = False) -> list[list[int]]:
        """Ids of texts that are to be continued: what the tokenizer puts in front of a text stays, what it puts behind
        is taken off, for it would say that the text is over.

        A text is tokenised once: a job checks its texts before it begins, and then uses them.

        Args:
          chat: the texts were rendered by :meth:`as_chat` and hold their special tokens already.

        Raises:
          SooError: a text with half a character in it, or with a token beyond the model's embedding.
        """
        known = self._known.setdefault(chat, {})
        if len(known) > MOST_KNOWN:
            known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(self._new_ids(new, chat))
        return [list(known[text]) for text in texts]

    def _new_ids(self, texts: Sequence[str], chat: bool) -> dict[str, list[int]]:
        for text in texts:
            _check_text(text)
        rows = self.wrapped(list(texts), add_special_tokens=not chat)["input_ids"]
        if not chat and self.appended:
            rows = [row[: -self.appended] for row in rows]
        for row in rows:
            beyond = [i for i in row if not 0 <= i < self.vocab_size]
            if beyond:
                token = self.wrapped.convert_ids_to_tokens(beyond[0])
                raise SooError(
                    f"{self.folder}: the tokenizer gives id {beyond[0]} ({token!r}), but the model's embedding has "
                    f"{self.vocab_size} rows; tokenizer and weights do not belong together"
                )
        return dict(zip(texts, rows, strict=True))

    def as_chat(self, prompt: str, before: Sequence[tuple[str, str]] = ()) -> str:
        """The prompt as a user's message in the model's chat template, up to where the answer starts.

        Args:
          before: (message, answer) of earlier turns.

        Raises:
          SooError: there is no template, or it does not parse, refuses the message, or asks for what is not there.
        """
        if self.wrapped.chat_template is None:
            raise SooError(f"{self.folder}: the tokenizer has no chat template; run without --chat")
        roles = ("user", "assistant")
        messages = [{"role": role, "content": text} for turn in before for role, text in zip(roles, turn, strict=True)]
        messages.append({"role": "user", "content": prompt})
        try:
            return self.wrapped.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # jinja2 and what a template calls raise Exceptions of many kinds
            raise SooError(
                f"{self.folder}: the chat template fails ({first_line(error)}); mend it, or run with --no-chat"
            ) from error


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SooError(
            f"text {text[max(0, error.start - 20) : error.start + 20]!r}: holds half a character (a lone surrogate) at "
            f"position {error.start}; write the character whole"
        ) from error


def first_line(error: Exception) -> str:
    """What an exception of some other library says, in one line."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def load_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """The folder's tokenizer; code in the folder is never run.

    Raises:
      SooError: there is none, or it cannot be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise SooError(f"{folder}: no tokenizer (tokenizer.json or tokenizer.model); copy it beside the weights")
    from transformers import AutoTokenizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapped = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizer libraries raise bare Exceptions of many kinds
        raise SooError(f"{folder}: the tokenizer cannot be read ({first_line(error)})") from error
    return Tokenizer(wrapped, folder, vocab_size)


def stop_tokens(folder: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer: those of the tokenizer and of both config files together."""
    stops = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name).get("eos_token_id")
            found = found if isinstance(found, list) else [] if found is None else [found]
            if not all(isinstance(i, int) and not isinstance(i, bool) for i in found):
                raise SooError(f"{folder / name}: eos_token_id must be a whole number or several, found {found!r}")
            stops |= set(found)
    return tuple(sorted(stops))
