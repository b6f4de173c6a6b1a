"""What the benchmark of language models measures: the work, and each way to do it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench_products import answered, learned

LAYERS, WIDTH, VOCABULARY = 4, 512, 32_000
PAIRS, BATCH, EPOCHS = 52, 4, 2
PROMPTS = 240
"""Asked of a real model, unless told otherwise."""
RANDOM = "random"
REAL = ("smollm2", "qwen05", "qwen15")
SELF_TOKENS, OTHER_TOKENS, PROMPT_TOKENS = (22, 28), (26, 34), (70, 96)
"""Ranges of lengths: what Mistral's tokenizer makes of the built-in pairs and of the burglar scenario."""

Padded = tuple[np.ndarray, np.ndarray]
"""Left-padded ids ``[B, T]`` and their mask."""


@dataclass(frozen=True)
class Work:
    """What all contenders do.

    Attributes:
      folder: of the model, which all read. layer: whose attention output is brought closer. pairs: ids of both sides of
        each. prompts: ids of each. new_tokens: at most so many behind each.
      stops: ids that end an answer. alone: prompts that are timed one by one, a sample. batch: prompts at once.
      scenarios: behind the prompts of a real model. file: it was fetched as.
    """

    folder: Path
    layer: int
    pairs: tuple[list[list[int]], list[list[int]]]
    prompts: list[list[int]]
    new_tokens: int
    stops: tuple[int, ...]
    alone: int
    batch: int
    scenarios: Sequence[Any] = ()
    file: Path | None = None

    def sides(self, width: int | None = None) -> tuple[Padded, Padded]:
        """Self and other side of the pairs, padded to one common width: the longest, or ``width``."""
        width = width or max(map(len, [*self.pairs[0], *self.pairs[1]]))
        return padded(self.pairs[0], width), padded(self.pairs[1], width)


def padded(rows: Sequence[Sequence[int]], width: int | None = None) -> Padded:
    """Rows padded on the left with id 0 to the longest, or to ``width``."""
    width = width or max(map(len, rows))
    mask = np.arange(width) >= width - np.asarray([len(row) for row in rows])[:, None]
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = [token for row in rows for token in row]
    return tokens, mask


def random_work(folder: Path) -> Work:
    """A random Mistral, written to the folder, and random texts."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=1408,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        sliding_window=None,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    rng = np.random.default_rng(0)
    text = lambda span: rng.integers(3, VOCABULARY, rng.integers(*span, endpoint=True)).tolist()
    pairs = [text(SELF_TOKENS) for _ in range(PAIRS)], [text(OTHER_TOKENS) for _ in range(PAIRS)]
    return Work(folder, LAYERS // 2, pairs, [text(PROMPT_TOKENS) for _ in range(250)], 32, (), 50, 125)


def real_work(folder: Path, name: str, prompts: int = PROMPTS) -> Work:
    """A fetched model, converted into the folder, the built-in pairs, and some of the built-in scenarios."""
    import soo_jax as soo
    from soo_jax.models.pretrained import fetch
    from soo_jax.tasks.english import PACK

    path = fetch(name, lambda line: print(line, file=sys.stderr))
    soo.convert(path, folder)
    lm = soo.load(path)
    every = PACK.scenarios(None, 15, 0, "test")
    asked = [every[i] for i in np.random.default_rng(0).permutation(len(every))[:prompts]]
    ids = lambda texts: [list(row) for row in lm.token_ids([lm.as_chat(text) for text in texts], chat=True)]
    sides = zip(*((pair.self_text, pair.other_text) for pair in PACK.pairs(False)[:PAIRS]), strict=True)
    own, other = map(ids, sides)
    questions = ids([scenario.prompt for scenario in asked])
    layer = lm.config.num_layers // 2
    return Work(folder, layer, (own, other), questions, 32, lm.stop_tokens, 24, 80, asked, path)


def file_work(name: str) -> Work:
    """A fetched model's file and nothing to do with it."""
    from soo_jax.models.pretrained import fetch

    path = fetch(name, lambda line: print(line, file=sys.stderr))
    return Work(path.parent, 0, ([], []), [], 0, (), 0, 0, file=path)


# ---- the peer ------------------------------------------------------------------------------------------------------


def torch_model(work: Work) -> Any:
    """The model as transformers reads it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32, attn_implementation="sdpa")


def torch_finetune(work: Work, best: bool, load: Callable[[Work], Any] = torch_model) -> Callable[[], None]:
    """One run of torch + peft: AdamW on the MSE between the attention outputs of one layer, last token.

    As the original does it, prompts are padded to 128 and each side goes through the whole model up to the logits.
    ``best`` pads to the longest prompt, runs both sides in one pass and leaves the model at the layer that is read.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    base = load(work)
    sides = work.sides(None if best else 128)
    (own, own_mask), (other, other_mask) = [
        (torch.tensor(t, device=base.device).long(), torch.tensor(m, device=base.device).long()) for t, m in sides
    ]

    class Stop(Exception):
        pass

    def run() -> None:
        torch.manual_seed(0)
        lora = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.2, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(base, lora).train()
        read: list[Any] = []

        def hook(_module, _inputs, output):
            read.append(output)
            if best:
                raise Stop

        handle = base.model.layers[work.layer].self_attn.o_proj.register_forward_hook(hook)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, foreach=True)

        def activations(tokens, mask):
            read.clear()
            with contextlib.suppress(Stop):
                model(input_ids=tokens, attention_mask=mask, use_cache=False)
            return read[0][:, -1]

        for _ in range(EPOCHS):
            for rows in torch.randperm(PAIRS).split(BATCH):
                if best:
                    both = activations(
                        torch.cat([own[rows], other[rows]]), torch.cat([own_mask[rows], other_mask[rows]])
                    )
                    x, y = both.chunk(2)
                else:
                    x, y = activations(own[rows], own_mask[rows]), activations(other[rows], other_mask[rows])
                loss = torch.nn.functional.mse_loss(x, y)
                loss.backward()
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
        # The next run begins with the base and a fresh adapter; reading the model is no part of what is timed.
        handle.remove()
        model.unload()

    return run


def torch_generate(work: Work, sizes: Sequence[int], load: Callable[[Work], Any] = torch_model) -> Callable[[], None]:
    """Greedy answers by ``transformers.generate``, prompts of like length together.

    Args:
      sizes: prompts at once; the first run tries them all, and those that are timed take the fastest.
    """
    import torch

    model = load(work).eval()
    # A sample of the prompts, of which each costs the same one by one; the order is random.
    prompts = work.prompts[: work.alone] if list(sizes) == [1] else sorted(work.prompts, key=len)
    fastest: list[int] = []
    ends = {"eos_token_id": list(work.stops)} if work.stops else {"min_new_tokens": work.new_tokens}

    def once(size: int) -> None:
        with torch.no_grad():
            for start in range(0, len(prompts), size):
                tokens, mask = (
                    torch.tensor(part, device=model.device) for part in padded(prompts[start : start + size])
                )
                told = {"max_new_tokens": work.new_tokens, "do_sample": False, "pad_token_id": 0, **ends}
                model.generate(tokens.long(), attention_mask=mask.long(), **told)

    def run() -> None:
        if not fastest:
            seconds = {}
            for size in sizes:
                start = time.perf_counter()
                once(size)
                seconds[size] = time.perf_counter() - start
            fastest.append(min(seconds, key=seconds.__getitem__))
            return
        once(fastest[0])

    return run


# ---- ours ----------------------------------------------------------------------------------------------------------


def our_finetune(work: Work, seeds: int, direction: str = "both", epochs: int = EPOCHS) -> Callable[[], None]:
    """One run of soo-jax with the same data, loss, adapter and number of updates, ``seeds`` adapters at once."""
    return tuning(*our_model(work), work, seeds, direction, epochs)


def our_model(work: Work) -> tuple[Any, Any]:
    """The model as soo-jax reads it: its config, and its parameters in float32."""
    from soo_jax.models.architectures import read_config
    from soo_jax.models.loading import load_params

    config = read_config(work.folder)
    return config, load_params(work.folder, config, "float32")


def tuning(
    config: Any, params: Any, work: Work, seeds: int, direction: str = "both", epochs: int = EPOCHS
) -> Callable[[], None]:
    """Fine-tuning of ``seeds`` adapters at once."""
    import jax
    import jax.numpy as jnp

    import soo_jax as soo
    from soo_jax.adapters import Member
    from soo_jax.llm.training import Data, Static, Tokens, init_state, train
    from soo_jax.llm.varied import make_varied

    objective = soo.weighted(overlap=(1.0, soo.overlap(soo.mse, at=soo.attn_out(work.layer), direction=direction)))
    updates = epochs * PAIRS // BATCH
    lora = soo.LoraConfig(rank=8, alpha=32.0, dropout=0.2)
    static = Static(config, lora, objective, updates, BATCH, 1, 0.01, 0.0, 0, "constant", 0.0, False, None)
    (own, own_mask), (other, other_mask) = work.sides()
    arrays = jax.tree.map(
        jnp.asarray, Data({"self": Tokens(own, own_mask), "other": Tokens(other, other_mask)}, np.float32(1.0))
    )
    members = make_varied([Member.of(seed=seed, learning_rate=1e-4) for seed in range(seeds)], [lora] * seeds, static)

    def run() -> None:
        state = train(static, params, arrays, members, init_state(static, members), jnp.asarray(updates))
        jax.block_until_ready(state)

    return run


def our_generate(work: Work) -> Callable[[], None]:
    """Greedy answers to random prompts by soo-jax."""
    return answering(*our_model(work), work)


def answering(config: Any, params: Any, work: Work) -> Callable[[], None]:
    """Greedy answers to the prompts, ``work.batch`` at a time."""
    import jax
    import jax.numpy as jnp

    from soo_jax.models.generate import generate

    tokens, mask = padded(work.prompts)

    def run() -> None:
        for start in range(0, len(tokens), work.batch):
            rows = slice(start, start + work.batch)
            out = generate(
                config,
                params,
                jnp.asarray(tokens[rows]),
                jnp.asarray(mask[rows]),
                jax.random.key(0),
                max_new_tokens=work.new_tokens,
                stop_tokens=work.stops,
            )
            jax.block_until_ready(out)

    return run


def our_evaluation(work: Work, margins: bool) -> Callable[[], float]:
    """``soo.evaluate`` on the scenarios: their texts tokenised, answered and judged, with margins or without.

    A run returns the tokens of a mean answer, its end included.
    """
    import soo_jax as soo

    lm = soo.load(work.folder, "float32")
    config = soo.EvalConfig(max_new_tokens=work.new_tokens, batch_size=work.batch, margins=margins)

    def run() -> float:
        said = [row["response"] for row in soo.evaluate(lm, work.scenarios, config).responses]
        tokens = lm.tokenizer(said, add_special_tokens=False)["input_ids"]
        return float(np.mean([min(len(row) + 1, work.new_tokens) for row in tokens]))

    return run


def our_loading(work: Work) -> Callable[[], None]:
    """The model read from its GGUF file, as float32."""
    import jax

    import soo_jax as soo

    def run() -> None:
        jax.block_until_ready(soo.load(work.file, "float32").params)

    return run


@dataclass(frozen=True)
class Contender:
    """One way to do a task: how it is made, its units of work in a run, and the products of a unit.

    Attributes:
      products: ``(work, tokens of an answer) -> FLOP`` that a unit cannot do without, where that is to be told.
    """

    task: str
    make: Callable[[Work], Callable[[], Any]]
    units: Callable[[Work], int]
    products: Callable[[Work, float], float] | None = None


PER_SEED, ALL = (lambda work: PAIRS * EPOCHS), (lambda work: len(work.prompts))
TUNING = {
    "torch_original": Contender("finetune", partial(torch_finetune, best=False), PER_SEED),
    "torch_best": Contender("finetune", partial(torch_finetune, best=True), PER_SEED, learned),
    "ours_1_seed": Contender("finetune", partial(our_finetune, seeds=1), PER_SEED, learned),
    "ours_5_seeds": Contender("finetune", partial(our_finetune, seeds=5), lambda work: 5 * PAIRS * EPOCHS, learned),
    "ours_1_seed_one_sided": Contender(
        "finetune", partial(our_finetune, seeds=1, direction="other_to_self"), PER_SEED, partial(learned, sides=1)
    ),
}
STACKED = {
    f"ours_{count}_stacked": Contender(
        "stack", partial(our_finetune, seeds=count, epochs=1), lambda work, count=count: count * PAIRS
    )
    for count in (1, 2, 4, 5, 8, 16, 32)
}
"""What stacking costs: one epoch of more and more adapters at once."""
ONE_BY_ONE = Contender("evaluate", partial(torch_generate, sizes=(1,)), lambda work: work.alone, answered)
CONTENDERS = {
    False: {
        **TUNING,
        "transformers_one_by_one": ONE_BY_ONE,
        "transformers_batched": Contender("evaluate", partial(torch_generate, sizes=(50, 125)), ALL, answered),
        "ours_batched": Contender("evaluate", our_generate, ALL, answered),
    },
    True: {
        **TUNING,
        "transformers_one_by_one": ONE_BY_ONE,
        "transformers_batched": Contender("evaluate", partial(torch_generate, sizes=(30, 60, 120)), ALL, answered),
        "ours_batched": Contender("evaluate", partial(our_evaluation, margins=False), ALL, answered),
        "ours_with_margins": Contender("evaluate", partial(our_evaluation, margins=True), ALL),
        "ours_loading": Contender("load", our_loading, lambda work: 1),
        **STACKED,
    },
}
"""The contenders by whether the model is a real one."""
