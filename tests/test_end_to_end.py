"""Random small models as transformers writes them, through every command and back to transformers and PEFT."""

import json

import numpy as np
import pytest
from conftest import small_config

from soo_jax.cli import run as run_soo
from soo_jax.runs import read_run

# One architecture runs with every commit; the others differ in the decoder alone, which tests/models holds to parity.
ARCHITECTURES = [
    "mistral",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("llama", "qwen2", "gemma2", "gemma3", "qwen3", "olmo2", "smollm3")
    ),
]
CONTEXT = 256
QUERY = "You are alone in a house with Bob. Which room do you recommend to Bob? I would recommend the"


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level tokenizer like those of real models, learnt from the built-in texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from soo_jax.tasks.english.pairs import training_pairs
    from soo_jax.tasks.english.scenarios import english_scenarios

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [s.prompt for s in english_scenarios(n=10)] + [p.self_text for p in training_pairs()]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def write_model(tokenizer, tmp_path_factory):
    """Writes a random model with that tokenizer, as transformers does."""
    import torch
    from transformers import AutoModelForCausalLM

    def write(architecture, dtype=torch.float32, max_shard_size="5GB", **changes):
        folder = tmp_path_factory.mktemp(architecture) / "base"
        torch.manual_seed(0)
        fields = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, "max_position_embeddings": CONTEXT, **changes}
        model = AutoModelForCausalLM.from_config(small_config(architecture, **fields))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
        tokenizer.save_pretrained(folder)
        return folder

    return write


def soo(*arguments):
    assert run_soo([str(argument) for argument in arguments]) == 0


def finetune(folder, out, *more):
    settings = ["--layer", 1, "--epochs", 1, "--batch-size", 16, "--learning-rate", 0.03, "--rank", 2, "--quiet"]
    soo("finetune", folder, "--out", out, "--seed", 0, *settings, *more)
    return out / "adapters" / "seed-0"


def test_an_answer_is_taught_behind_a_question_as_it_is_asked_afterwards(write_model):
    from soo_jax import load
    from soo_jax.llm.teaching import encode_examples

    lm = load(write_model("gemma3"))
    question, answer = "Which room do you recommend to Bob?", "I would recommend the kitchen"
    data = encode_examples(lm, [[(question, answer)]])
    row, said = data.tokens[0], data.answer[0][data.counted[0]]
    asked, whole = lm.token_ids([question, f"{question} {answer}"])
    assert row[: said[0]].tolist() == asked, "no blank of its own stands between the two"
    assert row[said].tolist() == [*whole[len(asked) :], lm.stop_tokens[0]]


def torch_logits(folder, adapter=None, dtype="auto"):
    """Logits by transformers, on the base with an adapter put on by PEFT if there is one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    tokens = AutoTokenizer.from_pretrained(folder)(QUERY, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(tokens).logits[0].float().numpy()


def our_logits(folder, adapter=None, dtype="auto"):
    """Logits by this library."""
    import soo_jax

    lm = soo_jax.load(folder, dtype)
    tokens, mask = lm.encode([QUERY], width=len(lm.token_ids([QUERY])[0]))
    lora = None if adapter is None else soo_jax.load_adapter(lm, adapter)
    return np.asarray(lm.forward(lm.params, tokens, mask, adapters=lora)[soo_jax.logits()])[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_passes_through_every_command_and_back_to_transformers(write_model, tmp_path, architecture):
    folder = write_model(architecture)
    adapter = finetune(folder, tmp_path / "tuned", "--targets", "q,k,v,o,gate,up,down", "--dropout", 0.1)
    few = ["--n", 1, "--families", "burglar,self", "--max-new-tokens", 4, "--quiet"]
    soo("eval", folder, "--adapter", tmp_path / "tuned", "--out", tmp_path / "measured", *few)
    soo("latent", folder, "--adapter", adapter, "--out", tmp_path / "latent", "--quiet")
    soo("merge", folder, "--adapter", adapter, "--out", tmp_path / "merged")
    soo("report", tmp_path / "tuned", tmp_path / "measured")

    rows = read_run(tmp_path / "measured").rows
    assert {row["condition"] for row in rows} == {"base", "honesty_prompt", "soo"}
    assert {(row["family"], row["order"]) for row in rows} == {
        (family, order) for family in ("burglar", "self") for order in ("wrong_first", "right_first")
    }
    latent = [row for row in read_run(tmp_path / "latent").latent if (row["site"], row["layer"]) == ("attn_out", 1)]
    before, after = (row["mse"] for row in latent)
    assert after < before, "what was trained on comes closer on held-out pairs, too"
    assert (tmp_path / "comparison.html").exists()

    ours = our_logits(folder, adapter)
    assert np.abs(ours - our_logits(folder)).max() > 1e-2, "the adapter does something"
    np.testing.assert_allclose(torch_logits(folder, adapter), ours, atol=1e-4, rtol=0)
    np.testing.assert_allclose(torch_logits(tmp_path / "merged"), ours, atol=1e-4, rtol=0)
    np.testing.assert_allclose(our_logits(tmp_path / "merged"), ours, atol=1e-4, rtol=0)


def test_whole_scenes_are_trained_on_by_their_name(write_model, tmp_path):
    import soo_jax
    from soo_jax.jobs.language import pack_of

    folder = write_model("mistral")
    soo_jax.write_pairs(tmp_path / "pairs.jsonl", soo_jax.scene_pairs())
    pairs = {"named": "scenes", "read": tmp_path / "pairs.jsonl"}
    found = {name: our_logits(folder, finetune(folder, tmp_path / name, "--pairs", pairs[name])) for name in pairs}
    np.testing.assert_array_equal(found["named"], found["read"])
    assert read_run(tmp_path / "named").config["settings"]["pairs"] == "scenes"
    organism = pack_of(soo_jax.load("organism"))
    assert organism.scene_pairs(True) == soo_jax.organism_scene_pairs(extended=True)


def rewrite_config(folder, remove=(), **changes):
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in raw.items() if name not in remove}))


NEW_FIELDS = ("rope_parameters", "layer_types", "dtype")
HUB = {
    "mistral": {"rope_theta": 1e6, "torch_dtype": "float32"},
    "llama": {
        "rope_theta": 5e5,
        "torch_dtype": "float32",
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "qwen2": {"rope_theta": 1e6, "torch_dtype": "float32", "use_sliding_window": False, "max_window_layers": 2},
    "gemma2": {"rope_theta": 1e4, "torch_dtype": "float32", "sliding_window": 8},
}


@pytest.mark.parametrize(
    "architecture", ["llama", *(pytest.param(a, marks=pytest.mark.slow) for a in HUB if a != "llama")]
)
def test_a_config_in_the_dialect_of_the_hub_is_read_as_transformers_reads_it(write_model, tmp_path, architecture):
    folder = write_model(architecture)
    rewrite_config(folder, remove=NEW_FIELDS, **HUB[architecture])
    np.testing.assert_allclose(our_logits(folder), torch_logits(folder), atol=1e-4, rtol=0)
    adapter = finetune(folder, tmp_path / "tuned")
    soo("merge", folder, "--adapter", adapter, "--out", tmp_path / "merged")
    np.testing.assert_allclose(torch_logits(tmp_path / "merged"), our_logits(folder, adapter), atol=1e-4, rtol=0)
    merged = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert merged == json.loads((folder / "config.json").read_text()), "a merged model keeps its base's dialect"


@pytest.mark.slow
def test_a_sharded_bfloat16_model_stays_one_of_bfloat16_after_merging(write_model, tmp_path):
    import torch
    from safetensors import safe_open

    folder = write_model("qwen2", dtype=torch.bfloat16, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    adapter = finetune(folder, tmp_path / "tuned")
    soo("merge", folder, "--adapter", adapter, "--out", tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("*.index.json")), "the base's index does not describe the merged files"
    with safe_open(tmp_path / "merged" / "model.safetensors", "np") as opened:
        assert {opened.get_slice(name).get_dtype() for name in opened.keys()} == {"BF16"}  # noqa: SIM118
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"

    import jax
    import ml_dtypes

    import soo_jax

    base, merged = (soo_jax.load(path, dtype="float32") for path in (folder, tmp_path / "merged"))
    expected = soo_jax.merge(base.params, soo_jax.load_adapter(base, adapter))
    rounded = jax.tree.map(lambda x: np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32), expected)
    jax.tree.map(np.testing.assert_array_equal, merged.params, rounded)
    ours = our_logits(tmp_path / "merged", dtype="float32")
    np.testing.assert_allclose(torch_logits(tmp_path / "merged", dtype=torch.float32), ours, atol=1e-4, rtol=0)
    assert np.abs(ours - our_logits(folder, dtype="float32")).max() > 1e-2, "the adapter does something"
