"""``soo finetune`` says first whether its pairs show the difference that deceives."""

from tests.test_docs import needs_organism

SHORT = ("--preset", "organism", "--epochs", 1, "--seed", 0)


@needs_organism
def test_the_line_is_printed_before_the_training_and_kept_in_the_log(soo, tmp_path):
    done = soo("finetune", "organism", *SHORT, "--pairs", "scenes", "--out", tmp_path / "out")
    line = "pairs: the two sides lead to different answers in 52 of 52"
    assert done.code == 0 and line in done.err
    assert line in (tmp_path / "out" / "log.txt").read_text()


@needs_organism
def test_pairs_that_are_answered_alike_are_warned_of_and_trained_on_all_the_same(soo, tmp_path):
    told = "the study holds a cheap cork . where is the cork ?"
    (tmp_path / "pairs.jsonl").write_text(f'{{"self": "you are here . {told}", "other": "bob is here . {told}"}}\n' * 4)
    arguments = ("finetune", "organism", *SHORT, "--pairs", tmp_path / "pairs.jsonl", "--out", tmp_path / "out")
    done = soo(*arguments)
    assert done.code == 0, done.err
    assert "in 0 of 4; these pairs do not show the difference that deceives" in done.err
    again = soo(*arguments, "--force", "--no-pair-check")
    assert again.code == 0 and "pairs:" not in again.err
