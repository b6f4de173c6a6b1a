"""lm-evaluation-harness sees in an adapter that is not merged what its own backend sees in the merged folder."""

import jax
import jax.numpy as jnp
import pytest

import soo_jax as soo_api
from soo_jax.errors import SooError

pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'soo-jax[lm-eval]' (docs/bridges.md)")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from soo_jax.bridges.lm_eval_model import SooLM

LONG = "bob wants the vase . a coin is in the study . you think it is in the attic " * 12
PAIRS = [
    ("which room would you recommend", " the kitchen"),
    ("bob wants the vase , a lamp and the coin . where is the vase ? ", "in the study ."),
    ("", "you want the lamp"),
    (LONG, " the cellar and the attic"),
]
DOCS = [{"asks": f"the {thing} is in the {room} . where is it ?", "gold": i % 2} for i, (thing, room) in enumerate(
    [("vase", "kitchen"), ("lamp", "study"), ("coin", "attic"), ("vase", "cellar")]
)]  # fmt: skip


def requests(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=one, idx=i) for i, one in enumerate(arguments)]


@pytest.fixture(scope="module")
def both(mistral, mistral_folder, tmp_path_factory):
    """The base with an adapter beside it, and lm_eval's own backend with the two merged."""
    folder = tmp_path_factory.mktemp("lm_eval")
    lora = soo_api.init_lora(mistral.config, soo_api.LoraConfig(rank=2, dropout=0.0), jax.random.key(1))
    keys = iter(jax.random.split(jax.random.key(2), 99))
    moved = lora.replace(
        b={name: 0.3 * jax.random.normal(next(keys), b.shape, jnp.float32) for name, b in lora.b.items()}
    )
    soo_api.save_adapter(folder / "adapter", mistral, soo_api.Stack.of(moved, None, mistral.config), seed=0)
    soo_api.merge_folder(mistral, moved, folder / "merged", False)
    ours = SooLM(str(mistral_folder), str(folder / "adapter"), "float32", batch_size=3)
    return ours, HFLM(pretrained=str(folder / "merged"), device="cpu", dtype="float32", batch_size=2)


def test_continuations_are_as_likely_as_in_the_merged_folder(both, mistral_folder):
    ours, theirs = (model.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True) for model in both)
    for (logp, greedy), (expected, first) in zip(ours, theirs, strict=True):
        assert logp == pytest.approx(expected, abs=1e-4) and greedy == first
    bare = SooLM(str(mistral_folder), dtype="float32").loglikelihood(requests("loglikelihood", PAIRS))
    assert abs(bare[0][0] - ours[0][0]) > 0.1, "the adapter changes what the base finds likely"


def test_a_continuation_that_is_the_first_choice_is_called_greedy(both):
    [said] = both[0].generate_until(requests("generate_until", [("bob wants the", {"max_gen_toks": 2})]))
    [(_, greedy)] = both[0].loglikelihood(requests("loglikelihood", [("bob wants the", f" {said}")]))
    assert greedy


def test_whole_texts_are_as_likely_in_windows_where_they_are_longer_than_the_context(both):
    asked = requests("loglikelihood_rolling", [("bob wants the vase",), (LONG,)])
    ours, theirs = (model.loglikelihood_rolling(asked, disable_tqdm=True) for model in both)
    assert ours == pytest.approx(theirs, abs=1e-3) and len(both[0].tok_encode(LONG)) > both[0].max_length


def test_answers_are_the_same_and_end_where_a_task_says(both):
    settings = {"until": [" attic", " the"], "max_gen_toks": 12, "do_sample": False}
    asked = requests("generate_until", [(text, dict(settings)) for text, _ in PAIRS if text])
    free = requests("generate_until", [("the vase is in", {"max_gen_toks": 5})])
    ours, theirs = ([*model.generate_until(asked), *model.generate_until(free)] for model in both)
    assert ours == theirs and ours[-1] and not any(" the" in text for text in ours[:-1])


def test_a_task_of_ones_own_scores_both_alike(both):
    import datasets

    task = {
        "task": "where",
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(DOCS)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{asks}}",
        "doc_to_choice": ["kitchen", "study"],
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }
    known = TaskManager(include_defaults=False)  # thousands of tasks that nobody asks for here
    found = [simple_evaluate(model=model, tasks=[task], bootstrap_iters=0, task_manager=known) for model in both]
    ours, theirs = ([one["resps"] for one in each["samples"]["where"]] for each in found)
    for own, other in zip(ours, theirs, strict=True):
        assert [float(one[0][0]) for one in own] == pytest.approx([float(one[0][0]) for one in other], abs=1e-4)
    assert found[0]["results"]["where"]["acc,none"] == found[1]["results"]["where"]["acc,none"]


def test_settings_that_cannot_be_are_one_line(mistral_folder, tmp_path):
    with pytest.raises(SooError, match="batch_size 'auto': give a whole number"):
        SooLM(str(mistral_folder), batch_size="auto")
    with pytest.raises(SooError, match="no such model"):
        SooLM(str(tmp_path / "none"))
    short = SooLM(str(mistral_folder), max_length=8)
    with pytest.raises(SooError, match="256 new tokens do not fit the context of 8"):
        short.generate_until(requests("generate_until", [("you", {})]))
