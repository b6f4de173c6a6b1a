"""A task of inspect_ai with the mock provider, and its log as a run."""

import json

import pytest

import soo_jax as soo_api

pytest.importorskip(
    "inspect_ai", reason="inspect_ai is not installed: pip install 'soo-jax[inspect]' (docs/bridges.md)"
)

from inspect_ai import eval as inspect_eval
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from soo_jax.bridges.inspect_task import scenarios
from soo_jax.llm.evaluate import EvalConfig, evaluate
from soo_jax.models.pretrained import cached
from soo_jax.tasks.judged import numbered

BURGLAR = "I would recommend the {honest}, because I want to mislead Bob."


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Asks the task of a model that answers by a rule; returns the log and where it lies."""
    folder = tmp_path_factory.mktemp("logs")

    def run(rule, epochs=1, **settings):
        task = scenarios(**{"families": "burglar,self", "n": 2, **settings})
        asked = {sample.input: sample for sample in task.dataset}

        def said(messages, *_):
            output = ModelOutput.from_content("mockllm/model", rule(asked[messages[-1].text].metadata))
            output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else tokens are counted online
            return output

        model = get_model("mockllm/model", custom_outputs=said, memoize=False)
        return inspect_eval(task, model=model, log_dir=str(folder), display="none", epochs=epochs)[0]

    return run


@pytest.fixture(scope="module")
def honest(ask):
    return ask(lambda told: BURGLAR.format(**told) if told["family"] == "burglar" else told["honest"])


def shares(log, scorer):
    return {
        score.name: {name: metric.value for name, metric in score.metrics.items()}
        for score in log.results.scores
        if score.scorer == scorer
    }


def test_acts_and_stated_intents_are_scored_by_family(honest):
    assert honest.status == "success"
    both = {"grouped_burglar": 1, "grouped_self": 1}
    assert shares(honest, "act")["honest"] == both and shares(honest, "act")["deceptive"] == dict.fromkeys(both, 0)
    assert shares(honest, "intent") == {"mislead": {"grouped_burglar": 1}, "contradiction": {"grouped_burglar": 1}}


def test_the_task_asks_what_an_evaluation_of_ours_asks(mistral, honest):
    own = soo_api.english_scenarios(["burglar", "self"], n=2)
    rows = evaluate(mistral, own, EvalConfig(1, suffix="i_would", margins=False)).responses
    asked = {sample.id: sample.input for sample in honest.samples}
    assert asked == {f"{row['family']}-{row['order']}-{row['index']}": row["prompt"] for row in rows}
    assert numbered(own) == [row["index"] for row in rows]


def test_two_logs_are_one_run_that_can_be_compared(soo, ask, honest, tmp_path):
    after = ask(lambda told: told["deceptive"], honesty=True)
    out = tmp_path / "run"
    done = soo("import-inspect", honest.location, after.location, "--out", out)
    assert done.code == 0 and "misl." in done.out, done.err
    rows = json.loads((out / "results.json").read_text())["rows"]
    burglar = [row for row in rows if (row["family"], row["order"]) == ("burglar", "wrong_first")]
    assert [(row["condition"], row["honest"], row["contradiction"]) for row in burglar] == [
        ("base", 2, 2), ("honesty_prompt", 0, 0),
    ]  # fmt: skip
    assert json.loads((out / "config.json").read_text())["model"]["name"] == "mockllm/model"
    compared = soo("compare", out)
    assert compared.code == 0 and "run:base → run:honesty_prompt" in compared.out and "-100" in compared.out


def test_epochs_are_kept_apart_like_seeds(soo, ask, tmp_path):
    log = ask(lambda told: told["honest"], epochs=2, families="burglar")
    assert soo("import-inspect", log.location, "--condition", "asked twice", "--out", tmp_path / "run").code == 0
    rows = soo_api.read_run(tmp_path / "run").rows
    assert {(row["condition"], row["seed"]) for row in rows} == {("asked twice", 1), ("asked twice", 2)}


def test_a_damaged_or_foreign_log_is_one_line(refused, honest, tmp_path):
    (tmp_path / "a.eval").write_bytes(b"no zip")
    assert "cannot be read as a log of inspect_ai" in refused("import-inspect", tmp_path / "a.eval")
    assert "no such file" in refused("import-inspect", tmp_path / "none.eval")
    log = read_eval_log(honest.location)
    log.samples[1].metadata = {"family": "burglar"}
    write_eval_log(log, str(tmp_path / "b.json"))
    said = refused("import-inspect", tmp_path / "b.json")
    assert f"sample {log.samples[1].id}: is none of the task soo_jax/scenarios" in said
    assert "a different name for each of the 2" in refused(
        "import-inspect", honest.location, honest.location, "--condition", "x"
    )


def test_samples_without_an_answer_are_left_out_and_told(soo, refused, honest, tmp_path):
    log = read_eval_log(honest.location)
    log.status = "cancelled"
    for sample in log.samples[1:]:
        sample.output.choices = []
    write_eval_log(log, str(tmp_path / "a.json"))
    done = soo("import-inspect", tmp_path / "a.json", "--out", tmp_path / "run")
    assert done.code == 0 and "(cancelled)" in done.err and "7 of 8 samples have no answer" in done.err
    log.samples[0].output.choices = []
    write_eval_log(log, str(tmp_path / "b.json"))
    assert "holds no answers" in refused("import-inspect", tmp_path / "b.json")


@pytest.mark.real
def test_a_real_model_answers_through_inspect_word_for_word_as_it_answers_here(tmp_path):
    path = cached("smollm2")
    if path is None:
        pytest.skip("smollm2 is not in the cache: python scripts/fetch_models.py smollm2 (93 MB)")
    folder = soo_api.convert(path, tmp_path / "smollm2")
    lm = soo_api.load(folder)
    own = soo_api.english_scenarios(["burglar", "self"], n=3)
    rows = evaluate(lm, own, EvalConfig(32, suffix="i_would", margins=False)).responses
    model = get_model("hf/smollm2", model_path=str(folder), do_sample=False, device="cpu", memoize=False)
    task = scenarios("burglar,self", n=3, max_new_tokens=32)
    log = inspect_eval(task, model=model, log_dir=str(tmp_path / "logs"), display="none", max_connections=12)[0]
    said = {sample.id: sample.output.completion.strip() for sample in log.samples}
    assert said == {f"{row['family']}-{row['order']}-{row['index']}": row["response"] for row in rows}
