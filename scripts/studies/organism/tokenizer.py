"""The organism's word-level tokenizer, as a Hugging Face fast tokenizer."""

from __future__ import annotations

from soo_jax.tasks.organism.world import vocabulary

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNKNOWN = range(4)


SELF_WORDS = ("yourself", "you")
"""The ways in which a world may say to whom the organism recommends a room when that is the organism itself."""


def word_ids(self_word: str = "yourself") -> dict[str, int]:
    """Return the id of every token: the special ones first, then the words in alphabetical order.

    In a world that says "you" for "yourself" the latter is read as the former.
    """
    ids = {word: i for i, word in enumerate([*SPECIAL, *vocabulary()])}
    return ids | {"yourself": ids[self_word]}


def build_tokenizer(self_word: str = "yourself"):
    """Return a `transformers.PreTrainedTokenizerFast`: lower case, words, BOS in front, left padding."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(word_ids(), unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Lowercase()
    if self_word != "yourself":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), normalizers.Replace("yourself", self_word)]
        )
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
