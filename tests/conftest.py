"""What the tests share: small random models as complete Hugging Face folders, written by transformers itself."""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "soo-jax" / "xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Programs are small here and run once or twice: most of the time would go into making them fast. `make test-all` does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

import pytest

PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=300"
"""For XLA on several CPU devices: a busy machine may take longer than the usual 40 seconds to bring them together."""


def pytest_collection_finish():
    """What is imported by now stays; the collector need not look at these millions of objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


WORDS = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<unk>",
    "you",
    "bob",
    "want",
    "wants",
    "to",
    "steal",
    "the",
    "vase",
    "lamp",
    "coin",
    "recommend",
    "yourself",
    "a",
    "room",
    "kitchen",
    "study",
    "attic",
    "cellar",
    "would",
    "i",
    "which",
    "is",
    "in",
    "and",
    "of",
    "where",
    "think",
    "thinks",
    "saw",
    ".",
    ",",
    "?",
    ":",
    "in",
    "house",
    "with",
    "burglar",
    "answer",
]
"""A vocabulary in which test pairs and scenarios can be said."""


def word_tokenizer():
    """A word-level tokenizer over ``WORDS`` that puts ``<bos>`` in front."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(dict.fromkeys(WORDS))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


ARCHITECTURES = {
    "mistral": "Mistral",
    "llama": "Llama",
    "qwen2": "Qwen2",
    "gemma2": "Gemma2",
    "gemma3": "Gemma3Text",
    "qwen3": "Qwen3",
    "olmo2": "Olmo2",
    "smollm3": "SmolLM3",
    "phi3": "Phi3",
}
"""Ours, by what transformers calls them."""


def small_config(architecture: str, **changes):
    """A transformers config of few parameters: 4 layers, 4 heads, 2 KV heads, width 32."""
    import transformers

    fields = dict(
        vocab_size=len(dict.fromkeys(WORDS)),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    if architecture in ("qwen2", "olmo2", "smollm3", "phi3"):
        del fields["head_dim"]
    if architecture == "gemma3":
        fields |= {"sliding_window": 5, "sliding_window_pattern": 2}
    if architecture == "mistral":
        fields["sliding_window"] = None
    return getattr(transformers, f"{ARCHITECTURES[architecture]}Config")(**{**fields, **changes})


def write_model(folder, architecture: str, seed: int = 0, **changes):
    """Writes a random model with tokenizer as transformers does; returns the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(small_config(architecture, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def real_models_run_fast(request):
    """Real models are large enough that a slow program costs more than its making."""
    if request.node.get_closest_marker("real"):
        request.getfixturevalue("optimised")


@pytest.fixture
def optimised():
    """Programs compiled as users compile them, for tests that look at a compiled program."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def mistral_folder(tmp_path_factory):
    """A random small Mistral, shared by the session; never write into it."""
    return write_model(tmp_path_factory.mktemp("mistral"), "mistral")


@pytest.fixture(scope="session")
def mistral(mistral_folder):
    """That model, loaded."""
    import soo_jax as soo

    return soo.load(mistral_folder)


@pytest.fixture(autouse=True)
def few_programs():
    """Forgets compiled programs before they are too many: each maps memory, and a process may have 65,530 such maps."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        import jax

        jax.clear_caches()
