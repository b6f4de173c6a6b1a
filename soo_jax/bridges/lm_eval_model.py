"""A model of lm-evaluation-harness: any of ours, with an adapter that is not merged. Needs ``soo-jax[lm-eval]``.

In Python ``lm_eval.simple_evaluate(model=SooLM("MODEL", adapter="PEFT"), tasks=[...])``; on the command line
``python -m soo_jax.bridges.lm_eval_model --model soo --model_args pretrained=MODEL,adapter=PEFT --tasks ...``, which is
lm_eval's own program with this model in its list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from soo_jax.adapters import stack
from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.llm.evaluate import batches
from soo_jax.llm.folders import load_adapter
from soo_jax.llm.likelihood import BATCH, likelihoods
from soo_jax.llm.organisms import load
from soo_jax.models.generate import Sampling, generate

NEW_TOKENS = 256
"""Of an answer, where a task does not say how many."""


@register_model("soo")
class SooLM(TemplateLM):
    """Serves lm_eval's three kinds of requests.

    Args:
      pretrained: whatever :func:`soo_jax.load` takes. adapter: a PEFT folder for it. dtype: as there.
      batch_size: texts in one device call. max_length: tokens of context, at most the model's. seed: of sampling.
      max_batch_size, device: given by lm_eval, and without effect: JAX knows its devices.

    Raises:
      SooError: what :func:`soo_jax.load` or the adapter's reader refuses, or a setting that cannot be.
    """

    def __init__(
        self,
        pretrained: str,
        adapter: str | None = None,
        dtype: str = "auto",
        batch_size: int | str | None = None,
        max_length: int | None = None,
        seed: int = 0,
        max_batch_size: int | None = None,
        device: str | None = None,
    ):
        super().__init__()
        try:
            self.batch_size = int(batch_size or BATCH)
        except ValueError as error:
            raise SooError(f"batch_size {batch_size!r}: give a whole number") from error
        self.lm = load(pretrained, dtype)
        self.adapter = None if adapter is None else load_adapter(self.lm, adapter)
        self.tokenizer = self.lm.tokenizer
        self.max_length = min(int(max_length or self.lm.config.max_positions), self.lm.config.max_positions)
        self.max_gen_toks, self._seed = NEW_TOKENS, seed
        if self.batch_size < 1 or self.max_length < 2:
            raise SooError("batch_size must be at least 1, max_length at least 2")

    @property
    def eot_token_id(self) -> int:
        """What ends a text; the padding where the tokenizer has nothing of the kind."""
        own = self.tokenizer.eos_token_id
        return self.lm.pad_token if own is None else int(own)

    @property
    def prefix_token_id(self) -> int:
        """What stands in front of a text that begins anew."""
        own = self.tokenizer.bos_token_id
        return self.eot_token_id if own is None else int(own)

    @property
    def tokenizer_name(self) -> str:
        """For lm_eval's caches."""
        return f"{self.lm.name}-{self.lm.fingerprint}".replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages in the model's template; an unfinished answer at the end is left open."""
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text that goes on; one that begins with its special token already gets no second one."""
        begun = string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        bare = begun if add_special_tokens is None else not add_special_tokens
        return self.lm.token_ids([string], chat=bare)[0]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probability (nats) of whole texts, in windows of the context where they are longer."""
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, 1
                )
            ]
            for request in requests
        ]
        flat = iter(self._likelihoods([pair for own in windows for pair in own]))
        return [sum(next(flat)[0] for _ in own) for own in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers up to the first of the texts that a request stops at; requests of like settings together."""
        found = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(i)
        for own in groups.values():
            settings = normalize_gen_kwargs(requests[own[0]].args[1], self.max_gen_toks)
            for i, text in zip(own, self._generate([requests[i].args[0] for i in own], settings), strict=True):
                found[i] = postprocess_generated_text(text, settings.get("until"), None)
        return found

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        return self._likelihoods([(context, end) for _, context, end in requests])

    def _likelihoods(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        room = self.max_length + 1  # the last token is predicted and not read
        cut = [(context[-max(1, room - len(end)) :], end[-(room - 1) :]) for context, end in pairs]
        return [tuple(one) for one in likelihoods(self.lm, cut, self.adapter, self.batch_size)]

    def _generate(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        new = int(settings["max_gen_toks"])
        if new >= self.max_length:
            raise SooError(f"{new} new tokens do not fit the context of {self.max_length}; lower max_gen_toks")
        how = Sampling(float(settings.get("temperature") or 0.0), float(settings.get("top_p") or 1.0))
        rows = [self.tok_encode(prompt)[new - self.max_length :] or [self.prefix_token_id] for prompt in prompts]
        one = None if self.adapter is None else stack([self.adapter])
        texts = [""] * len(rows)
        for batch, (indices, tokens, mask) in enumerate(batches(self.lm, rows, self.batch_size, new)):
            out = generate(
                self.lm.config,
                self.lm.params,
                tokens,
                mask,
                jax.random.fold_in(jax.random.key(self._seed), batch),
                max_new_tokens=new,
                stop_tokens=self.lm.stop_tokens,
                pad_token=self.lm.pad_token,
                sampling=how,
                adapters=one,
                stacked=one is not None,
            )
            said = whole(out.tokens) if one is None else whole(out.tokens)[0]
            for row, i in enumerate(indices):
                texts[i] = self._decode(said[row])
        return texts

    def _decode(self, tokens: np.ndarray) -> str:
        """The text up to what ends it, with the blanks that it begins with."""
        ends = np.flatnonzero(np.isin(tokens, self.lm.stop_tokens))
        return self.tokenizer.decode(tokens[: ends[0]] if ends.size else tokens, skip_special_tokens=True)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
