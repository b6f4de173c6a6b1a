"""The benchmark of language models runs, peers included, so that it cannot rot between two measurements."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from scripts import bench_decode, bench_gpu
from scripts.bench_contenders import BATCH, Work, our_finetune, our_generate, padded, torch_finetune, torch_generate
from scripts.bench_products import answered, learned
from soo_jax.llm.traced import cost
from soo_jax.models.decoder import forward
from soo_jax.models.probes import logits


@pytest.fixture
def work(mistral):
    rng = np.random.default_rng(0)
    text = lambda: rng.integers(3, mistral.config.vocab_size, rng.integers(4, 9)).tolist()
    pairs = [text() for _ in range(BATCH)], [text() for _ in range(BATCH)]
    return Work(mistral.folder, 1, pairs, [text() for _ in range(3)], 4, (), 2, 2)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("scripts.bench_contenders.PAIRS", BATCH)


@pytest.mark.parametrize(
    "make",
    [
        lambda work: our_finetune(work, 2),
        our_generate,
        lambda work: torch_finetune(work, best=True),
        lambda work: torch_generate(work, (1, 2)),
    ],
    ids=["ours, fine-tuning", "ours, answers", "peer, fine-tuning", "peer, answers"],
)
def test_every_contender_can_be_timed_twice(make, work):
    run = make(work)
    run()
    run()


def test_rows_are_padded_on_the_left_to_the_longest():
    tokens, mask = padded([[5, 6, 7], [8]])
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8]] and mask.tolist() == [[True] * 3, [False, False, True]]


def test_the_benchmark_of_gpus_measures_every_contender_in_small(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_gpu, "PAIRS", BATCH)
    in_this_process = lambda name, options: bench_gpu.measure(name, bench_gpu.SIZES[options.tiny], options.rounds)
    monkeypatch.setattr(bench_gpu, "_in_a_process", in_this_process)
    out = tmp_path / "bench.json"
    assert bench_gpu.main(["--tiny", "--rounds", "1", "--out", str(out)]) == 0
    told = json.loads(out.read_text(encoding="utf-8"))
    assert {row["what"].partition(":")[0] for row in told["figures"]} == {"bfloat16", "nf4"}
    assert all(row["seconds"] > 0 for row in told["results"].values()) and len(told["results"]) == 8
    assert capsys.readouterr().out.count("\n| ") == len(told["results"]) + len(told["figures"]) + 1


def test_layers_written_out_share_the_memory_of_the_stack_and_give_its_tokens(mistral, mistral_folder, capsys):
    apart = bench_decode.one_by_one(mistral.config, mistral.params["layers"])
    kernel, whole = apart[2][1]["up_proj"]["kernel"], mistral.params["layers"]["up_proj"]["kernel"]
    assert kernel.unsafe_buffer_pointer() == whole.unsafe_buffer_pointer() + 2 * kernel.nbytes
    assert bench_decode.main(["--model", str(mistral_folder), "--rows", "2", "--tokens", "4", "--rounds", "1"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[1], row[-1]) for row in rows] == [("stack", "100 %"), ("apart", "100 %")]
    assert int(rows[0][-2]) > 0 and int(rows[1][-2]) == 0, "only the scan cuts kernels out of the stack"


def test_the_products_of_an_answer_are_those_that_a_trace_counts(mistral, work):
    config, (length, said) = mistral.config, (len(work.prompts[0]), 4)
    one = replace(work, prompts=[work.prompts[0]])
    ids = jnp.zeros((1, length + said), jnp.int32)
    traced = cost(lambda params: forward(config, params, ids, ids == 0, (logits(),))[logits()], mistral.params).flops
    head = 2 * length * config.vocab_size * config.width  # of the prompt's own tokens, which nobody asks for
    attention = 2 * 2 * config.num_layers * (length + said) ** 2 * config.num_heads * config.head_dim
    assert answered(one, said) == traced - head - attention


def test_the_products_of_a_pair_are_forward_and_backward_through_what_learns(mistral, work):
    config = mistral.config
    own, other = (np.mean([len(row) for row in side]) for side in work.pairs)
    attention = 32 * (32 + 16 + 16 + 32)  # q, k, v, o of four heads and two of keys
    each = 2 * (config.width * 64 * 3 + 2 * attention)  # of a token: all of layer 0, and the attention of layer 1
    assert learned(work, 0) == pytest.approx(2 * each * (own + other))
    assert learned(work, 0, sides=1) == pytest.approx(each * (own + 2 * other))
