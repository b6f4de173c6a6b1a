"""Tokenizers as people have them: ones that end every text, ids beyond the embedding, templates that fail."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, word_tokenizer

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.models.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture
def folder(mistral_folder, tmp_path):
    """A copy of a good model folder."""
    return Path(shutil.copytree(mistral_folder, tmp_path / "model"))


def ends_every_text(folder):
    """Makes the folder's tokenizer put <eos> behind every text, as ``add_eos_token`` does."""
    from tokenizers import processors

    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer.save_pretrained(folder)


def test_a_text_is_tokenised_once_and_again_when_the_tokenizer_is_changed(folder):
    lm, asked = soo.load(folder), []

    class Counting:
        def __init__(self, wrapped):
            object.__setattr__(self, "wrapped", wrapped)

        def __call__(self, texts, **kwargs):
            asked.extend([texts] if isinstance(texts, str) else texts)
            return self.wrapped(texts, **kwargs)

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

    assert lm.tokenizer.appended == 0
    lm.tokenizer.wrapped = Counting(lm.tokenizer.wrapped)
    pairs = [soo.Pair("you want the vase", "bob wants the vase")] * 2
    soo.finetune(lm, pairs, soo.FinetuneConfig(layer=1, epochs=1, seeds=(0,)))
    soo.latent_overlap(lm, pairs)
    assert sorted(asked) == ["bob wants the vase", "you want the vase"]
    first = lm.token_ids(["you want"])
    first[0].append(7)
    assert lm.token_ids(["you want"]) != first, "what was given out may be changed"
    lm.tokenizer.padding_side = "right"
    before = len(asked)
    lm.token_ids(["you want"])
    assert len(asked) == before + 1


def test_a_prompt_ends_where_its_text_ends_whatever_the_tokenizer_appends(mistral, folder):
    ends_every_text(folder)
    ending = soo.load(folder)
    assert ending.tokenizer("you")["input_ids"][-1] == 2, "the tokenizer itself puts <eos> there"
    assert ending.token_ids(["you want"]) == mistral.token_ids(["you want"])
    pairs = [soo.Pair("you want to steal the vase", "bob wants to steal the vase")]
    scenarios = [soo.Scenario("burglar", "wrong_first", "which room ?", "study", "kitchen", lead="i recommend the")]
    same = lambda one, other: [row["mse"] for row in one] == pytest.approx([row["mse"] for row in other], abs=1e-7)
    assert same(soo.latent_overlap(ending, pairs), soo.latent_overlap(mistral, pairs))
    ask = soo.EvalConfig(max_new_tokens=4)
    answered = [soo.evaluate(lm, scenarios, ask).responses for lm in (ending, mistral)]
    for ours, theirs in zip(*answered, strict=True):
        assert ours["response"] == theirs["response"]
        assert ours["logp_margin"] == pytest.approx(theirs["logp_margin"], abs=1e-6)
    config = soo.FinetuneConfig(layer=1, epochs=2, seeds=(0,), learning_rate=1e-2)
    (_, one), (_, other) = (soo.finetune(lm, pairs, config) for lm in (ending, mistral))
    np.testing.assert_allclose(one.values["loss"], other.values["loss"], atol=1e-6)


def test_a_text_that_ends_in_a_stop_token_by_itself_keeps_it(folder):
    ends_every_text(folder)
    lm = soo.load(folder)
    assert lm.token_ids(["you <eos>"])[0][-1] == 2


def test_an_id_beyond_the_embedding_is_refused_by_name(mistral):
    small = Tokenizer(mistral.tokenizer.wrapped, mistral.folder, 12)
    with pytest.raises(SooError, match=r"gives id \d+ \('kitchen'\), but the model's embedding has 12 rows"):
        small.prompt_ids(["you want the kitchen"])
    assert small.prompt_ids(["you"])
    for wrong in (mistral.config.vocab_size, -1):
        with pytest.raises(SooError, match=f"token id {wrong} is out of range"):
            mistral.forward(mistral.params, np.array([[1, wrong]]), np.ones((1, 2), bool))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no users here') }}", "no users here"),
        ("{{ messages[0].content | nofilter }}", "nofilter"),
        ("{% for message in messages %}", "Unexpected end of template"),
        ("{{ missing.field.deeper }}", "undefined"),
        ({"tool_use": "x"}, "template"),
    ],
)
def test_a_chat_template_that_fails_is_one_line_with_the_folder_and_the_cure(mistral, template, said):
    broken = word_tokenizer()
    broken.chat_template = template
    tokenizer = Tokenizer(broken, mistral.folder, mistral.config.vocab_size)
    with pytest.raises(SooError) as error:
        tokenizer.as_chat("where ?")
    text = str(error.value)
    assert said in text and "the chat template fails" in text and "--no-chat" in text and "\n" not in text


def test_half_a_character_is_refused_with_its_place(mistral):
    with pytest.raises(SooError, match=r"half a character \(a lone surrogate\) at position 4"):
        mistral.token_ids(["you \ud83d want"])


def test_a_folder_with_a_sentencepiece_model_alone_is_read(folder):
    sentencepiece = pytest.importorskip("sentencepiece")
    import io

    words = list(WORDS[4:])
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[i:] + words[:i]) for i in range(len(words))]),
        model_writer=model, vocab_size=40, model_type="unigram", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    tokenizer = load_tokenizer(folder, 1000)
    own = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    text = "bob wants to steal the vase"
    ids = tokenizer.prompt_ids([text])[0]
    pieces = {own.id_to_piece(i): i for i in range(own.get_piece_size())}
    assert all(pieces[tokenizer.convert_ids_to_tokens(i)] == i for i in ids), "ids are those of the model file"
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
