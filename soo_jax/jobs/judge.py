"""A judge behind an OpenAI-compatible endpoint: many requests at once, patiently, with nothing lost and no key told.

Address and key come from the environment alone (``OPENAI_BASE_URL``, ``OPENAI_API_KEY``), as the client reads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from soo_jax.errors import SooError

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
_PER_TOKEN = 4
"""Characters of a token, roughly."""


@dataclass(frozen=True)
class JudgeConfig:
    """Who judges, and how patiently.

    Attributes:
      model: its name at the endpoint. max_tokens: of a judgment. temperature: 0 is the judge's most likely words.
      workers: requests at once. retries: of each request, ever later (the client's own backoff). timeout: seconds.
    """

    model: str
    max_tokens: int = 2048
    temperature: float = 0.0
    workers: int = 4
    retries: int = 6
    timeout: float = 120.0

    def __post_init__(self):
        if not self.model:
            raise SooError("judge: give the name of the model that judges")
        if self.workers < 1 or self.max_tokens < 1 or self.retries < 0 or not self.timeout > 0:
            raise SooError("judge: workers, max_tokens and timeout must be above 0, retries not negative")


@dataclass(frozen=True)
class Request:
    """One thing to be judged: ``name`` says which, the messages are the judge's."""

    name: Any
    system: str
    prompt: str


def cost(requests: Sequence[Request], config: JudgeConfig) -> str:
    """What is about to be asked, in one line; tokens are estimated from characters."""
    read = sum(len(one.system) + len(one.prompt) for one in requests) // _PER_TOKEN
    written = len(requests) * config.max_tokens
    return f"judge {config.model}: {len(requests)} requests, about {read:,} tokens in, at most {written:,} tokens out"


def judge_all(
    requests: Sequence[Request], config: JudgeConfig, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[Request, str]]:
    """Every request with what the judge said, as answers come.

    Raises:
      SooError: no key, no client installed, or a request that failed after all retries. What was answered before was
        yielded, and those under way are waited for and yielded, too.
    """
    ask = _client(config)
    failed: SooError | None = None
    with ThreadPoolExecutor(config.workers) as pool:
        waiting = {pool.submit(ask, one): one for one in requests}
        done = 0
        try:
            for future in as_completed(waiting):
                if future.cancelled():
                    continue
                try:
                    said = future.result()
                except SooError as error:
                    failed = failed or error
                    for other in waiting:
                        other.cancel()
                    continue
                done += 1
                if progress is not None:
                    progress(done, len(requests))
                yield waiting[future], said
        finally:
            for other in waiting:
                other.cancel()
    if failed is not None:
        raise SooError(f"{failed}; {done} of {len(requests)} were judged and kept, run it again to go on")


def _client(config: JudgeConfig) -> Callable[[Request], str]:
    try:
        import openai
    except ImportError as error:
        raise SooError("judge: needs the client of the endpoint; pip install 'soo-jax[judge]'") from error
    key = os.environ.get(KEY)
    if not key:
        raise SooError(f"judge: set {KEY} to the key of the endpoint ({ADDRESS} names another one than OpenAI's)")
    client = openai.OpenAI(max_retries=config.retries, timeout=config.timeout)

    def ask(one: Request) -> str:
        messages: Any = [{"role": "system", "content": one.system}, {"role": "user", "content": one.prompt}]
        try:
            done = client.chat.completions.create(
                model=config.model, messages=messages, max_tokens=config.max_tokens, temperature=config.temperature
            )
            text = done.choices[0].message.content
        except openai.OpenAIError as error:
            raise SooError(f"judge: {_without(key, error)}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise SooError("judge: the endpoint answered with something that is no chat completion") from error
        if not isinstance(text, str):
            raise SooError("judge: the endpoint answered without a text")
        return text

    return ask


def _without(key: str, error: Exception) -> str:
    """What went wrong, in one line, without the key."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0].replace(key, "***")
