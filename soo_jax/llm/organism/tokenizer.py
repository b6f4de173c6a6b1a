"""The organism's word-level tokenizer, as a Hugging Face fast tokenizer."""

from __future__ import annotations

from soo_jax.llm.organism.world import vocabulary

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNKNOWN = range(4)


def word_ids() -> dict[str, int]:
    """Return the id of every token: the special ones first, then the words in alphabetical order."""
    return {word: i for i, word in enumerate([*SPECIAL, *vocabulary()])}


def build_tokenizer():
    """Return a `transformers.PreTrainedTokenizerFast`: lower case, words, BOS in front, left padding."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(word_ids(), unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
