"""``soo sweep``: every combination once, told apart in every row, kept as it is done, and the best by the rule."""

import json

import conftest as shared
import pytest

import soo_jax as soo
from soo_jax.cli import run
from soo_jax.errors import SooError, StorageError
from soo_jax.jobs import sweep as jobs
from soo_jax.llm.grid import best, grid
from soo_jax.report.llm.sweep import axes_of, settings_of
from soo_jax.runs import read_run

SWEEP = """
[finetune]
epochs = 1
seeds = [0, 1]
chat = false
[finetune.lora]
rank = 2
layers = "layer"
[vary]
layer = [0, 1]
learning_rate = [1e-3, 2e-2]
[measure]
families = ["burglar", "self"]
n = 1
drift = true
"""


@pytest.fixture
def asked(tmp_path):
    """The arguments of a small sweep, without the output folder."""
    folder = shared.write_model(tmp_path / "model", "mistral", max_position_embeddings=512)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return ["sweep", str(folder), "--config", str(tmp_path / "sweep.toml"), "--quiet"]


def test_every_combination_is_trained_measured_and_told_apart(asked, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([*asked, "--out", str(out), "--keep-adapters"]) == 0
    said = capsys.readouterr().out
    found = read_run(out)
    after = [row for row in found.rows if row["condition"] == "soo"]
    members = {(row["trained_layer"], row["learning_rate"], row["seed"]) for row in after}
    assert members == {(layer, rate, seed) for layer in (0, 1) for rate in (1e-3, 2e-2) for seed in (0, 1)}
    assert len(after) == 8 * 2 * 2 and len([row for row in found.rows if row["condition"] == "base"]) == 4
    assert {row["trained_layer"] for row in found.training} == {0, 1} and len(found.drift) == 1 + 8
    settings = settings_of(found)
    assert len(settings) == 4 and all(one.seeds == 2 and one.kl is not None for one in settings)
    assert axes_of(settings) == ("trained_layer", "learning_rate")
    assert "trained layer" in said and (out / "sweep.png").is_file()
    for layer in (0, 1):
        folders = sorted(path.name for path in (out / "adapters" / f"trained_layer-{layer}").iterdir())
        assert len(folders) == 4
        config = json.loads(
            (out / "adapters" / f"trained_layer-{layer}" / folders[0] / "adapter_config.json").read_text()
        )
        assert config["layers_to_transform"] == [layer]
    lm = soo.load(asked[1])
    kept = soo.load_adapters(lm, [out])
    assert {(m.get("seed"), m.get("learning_rate")) for m in kept.members} >= {(0, 1e-3), (1, 2e-2)}
    assert len(kept.members) == 8, "those of all settings are found in the run's folder"
    told = json.loads((out / "best.json").read_text())
    assert told["rule"].startswith("Of the settings") and told["split"] == "validation"
    assert "Rule: Of the settings" in (out / "report.html").read_text() or told["setting"] is None


def test_a_sweep_in_parts_gives_the_rows_of_one_that_is_not(asked, tmp_path, monkeypatch, capsys):
    (tmp_path / "sweep.toml").write_text(SWEEP.replace("layer = [0, 1]", "layer = [1]"))
    seen = lambda out: sorted(json.dumps(row, sort_keys=True) for row in read_run(out).rows)
    kl = lambda out: sorted(row["kl"] for row in read_run(out).drift)
    trained, real = [], jobs.finetune
    counted = lambda *args, **rest: trained.append(len(rest["members"] or "all")) or real(*args, **rest)
    monkeypatch.setattr(jobs, "finetune", counted)
    for stack in ((), ("--stack", "3"), ("--stack", "auto")):
        out = tmp_path / f"out{'-'.join(stack)}"
        assert run([*asked, "--out", str(out), "--keep-adapters", *stack]) == 0
    assert trained == [3, 3, 1, 3], "four at once ('all'), three and one, and as many as fit: all"
    whole, parts, fitting = (tmp_path / name for name in ("out", "out--stack-3", "out--stack-auto"))
    assert seen(whole) == seen(parts) == seen(fitting)
    assert kl(parts) == pytest.approx(kl(whole), rel=1e-3)
    lm = soo.load(asked[1])
    assert len(soo.load_adapters(lm, [parts]).members) == 4
    capsys.readouterr()
    assert run([*asked, "--out", str(tmp_path / "bad"), "--stack", "0"]) == 2
    assert "stack must be a number of at least 1, or auto" in capsys.readouterr().err


def test_what_is_done_is_not_done_again(quick, tmp_path, monkeypatch, capsys):
    out, whole = tmp_path / "out", tmp_path / "whole"
    real, trained = jobs.finetune, []
    monkeypatch.chdir(tmp_path)

    def dies(lm, pairs, config, **rest):
        if trained:
            raise KeyboardInterrupt
        trained.append(config.layer)
        return real(lm, pairs, config, **rest)

    monkeypatch.setattr(jobs, "finetune", dies)
    assert run([*quick, "--out", str(out)]) == 130
    assert read_run(out).state == "interrupted" and trained == [0]
    seen = []
    monkeypatch.setattr(
        jobs, "finetune", lambda lm, pairs, config, **rest: seen.append(config.layer) or real(lm, pairs, config, **rest)
    )
    assert run([*quick, "--out", str(out), "--resume"]) == 0
    assert seen == [1]
    assert run([*quick[:2], "--config", str(out / "config.json"), "--quiet", "--out", str(whole)]) == 0
    assert read_run(out).rows == read_run(whole).rows and read_run(out).responses == read_run(whole).responses
    capsys.readouterr()
    assert run([*quick, "--out", str(out), "--resume"]) == 2
    assert "this run is complete" in capsys.readouterr().err


@pytest.fixture
def quick(asked, tmp_path):
    """A sweep of two layers, and nothing else."""
    one_rate = SWEEP.replace("[1e-3, 2e-2]", "[1e-3]").replace("[0, 1]\nchat", "[0]\nchat")
    (tmp_path / "sweep.toml").write_text(one_rate.replace("drift = true", "drift = false"))
    return asked


def test_a_setting_that_fails_is_told_and_the_others_go_on(quick, tmp_path, monkeypatch):
    real = jobs.finetune

    def fails(lm, pairs, config, **rest):
        if config.layer == 0:
            raise SooError("no memory for this one")
        return real(lm, pairs, config, **rest)

    monkeypatch.setattr(jobs, "finetune", fails)
    assert run([*quick, "--out", str(tmp_path / "out")]) == 0
    found = read_run(tmp_path / "out")
    assert {row.get("trained_layer") for row in found.rows if row["condition"] == "soo"} == {1}
    assert "trained layer 0: failed: no memory for this one" in (tmp_path / "out" / "log.txt").read_text()


def test_a_disk_that_refuses_is_no_fault_of_a_setting_and_ends_the_sweep(quick, tmp_path, monkeypatch, capsys):
    real = jobs.finetune

    def refused(lm, pairs, config, **rest):
        if config.layer == 0:
            raise StorageError("the disk is full")
        return real(lm, pairs, config, **rest)

    monkeypatch.setattr(jobs, "finetune", refused)
    assert run([*quick, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "soo: error: the disk is full\n" and read_run(tmp_path / "out").state == "failed"
    monkeypatch.undo()
    (tmp_path / "texts.jsonl").write_text('{"text": "you want the vase"}\n')
    assert run([*quick, "--texts", str(tmp_path / "texts.jsonl"), "--out", str(tmp_path / "out"), "--resume"]) == 2
    assert "begun with other settings (hashes)" in capsys.readouterr().err
    assert run([*quick, "--out", str(tmp_path / "out"), "--resume"]) == 0
    layers = {row.get("trained_layer") for row in read_run(tmp_path / "out").rows if row["condition"] == "soo"}
    assert layers == {0, 1}, "none is missing"


def test_a_sweep_of_which_nothing_succeeds_has_failed(asked, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise SooError("no memory for any")

    monkeypatch.setattr(jobs, "finetune", fails)
    assert run([*asked, "--out", str(tmp_path / "out")]) == 2
    assert "every combination failed" in capsys.readouterr().err and read_run(tmp_path / "out").state == "failed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[vary]\nlayer = 3", "vary: layer must be a list of values, found 3"),
        ("[vary]\nlayers = [3]", "setting 'layers' is unknown"),
        ("[vary]\nlayer = [77]", "trained layer 77: layer 77 is out of range"),
        ('[vary]\n"lora.rank" = [2, 0]', "adapter rank must be at least 1, found 0"),
        ('[vary]\n"lora.alpha" = [8, "x"]', "setting lora.alpha must be a finite number, found 'x'"),
        ("[vary]\nseeds = [3]", "give them as seeds under finetune"),
        ("[finetune]\nepochs = 1", "vary: nothing is varied"),
        ("[sweep]\nepochs = 1", "part 'sweep' is unknown; a sweep has finetune, measure, vary"),
        ("[vary]\nlayer = [0]\n[measure]\nfamily = 1", "setting 'family' is unknown"),
        ('[finetune.lora]\nlayers = "layer"\n[vary]\nlearning_rate = [0.1]', "needs a layer"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_one_line_and_nothing_is_written(asked, tmp_path, capsys, text, message):
    (tmp_path / "sweep.toml").write_text(text)
    assert run([*asked, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_grids_are_products_or_one_product_after_another_without_repetition():
    start = soo.FinetuneConfig(seeds=(0,))
    product = grid({"layer": [1, 2], "site": ["residual", "mlp_out"], "learning_rate": [1e-3, 1e-2]}, start)
    assert [(cell.config.layer, cell.config.site) for cell in product] == [
        (layer, site) for layer in (1, 2) for site in ("residual", "mlp_out")
    ]
    assert all(cell.config.rates == (1e-3, 1e-2) for cell in product) and len({cell.key for cell in product}) == 4
    several = grid([{"layer": [1, 2]}, {"layer": [2, 3]}], start)
    assert [cell.config.layer for cell in several] == [1, 2, 3]
    mixed = grid([{"layer": [1]}, {"lora.rank": [2]}], start)
    assert [dict(cell.varied) for cell in mixed] == [
        {"trained_layer": 1, "rank": 8},
        {"trained_layer": None, "rank": 2},
    ]


def test_combinations_that_differ_in_weights_alone_are_members_of_one_program():
    start = soo.FinetuneConfig(seeds=(0, 1), layer=1)
    cells = grid({"retain": [0.0, 0.1, 0.3], "overlap_weight": [1.0, 2.0], "layer": [1, 2]}, start)
    assert [(cell.config.layer, bool(cell.config.retain)) for cell in cells] == [
        (1, False),
        (2, False),
        (1, True),
        (2, True),
    ]
    whole = cells[2]
    assert len(whole.members) == 2 * 2 * 2 and len({cell.key for cell in cells}) == 4
    assert {(m.get("weight.retain"), m.get("weight.overlap"), m.seed) for m in whole.members} == {
        (retain, overlap, seed) for retain in (0.1, 0.3) for overlap in (1.0, 2.0) for seed in (0, 1)
    }
    assert whole.names == ("trained_layer", "weight.overlap", "weight.retain")
    assert not any(m.get("weight.retain") for m in cells[0].members), "a term of weight 0 is not there at all"


def test_combinations_that_differ_in_rank_and_alpha_alone_are_members_of_one_program():
    start = soo.FinetuneConfig(seeds=(0, 1), layer=1)
    cells = grid({"lora.rank": [2, 8, 4], "lora.alpha": [8.0, 16.0], "layer": [1, 2], "retain": [0.0, 0.1]}, start)
    assert [(cell.config.layer, bool(cell.config.retain)) for cell in cells] == [
        (1, False),
        (1, True),
        (2, False),
        (2, True),
    ]
    assert all(cell.names == ("trained_layer", "weight.retain", "rank", "alpha") for cell in cells)
    assert all(cell.config.lora.rank == 8 for cell in cells), "whoever plans for a cell plans for the largest"
    told = {(m.get("rank"), m.get("alpha"), m.seed) for m in cells[0].members}
    assert told == {(rank, alpha, seed) for rank in (2, 4, 8) for alpha in (8.0, 16.0) for seed in (0, 1)}
    small, large = (one for one in grid([{"lora.rank": [2], "layer": [1]}, {"lora.alpha": [8.0], "layer": [2]}], start))
    assert dict(small.varied) == {"rank": 2, "trained_layer": 1, "alpha": 32.0}
    assert dict(large.varied) == {"rank": 8, "trained_layer": 2, "alpha": 8.0}


def test_what_members_of_a_cell_do_not_differ_in_still_stands_in_its_rows():
    start = soo.FinetuneConfig(seeds=(0,), layer=1)
    cells = grid([{"lora.alpha": [8.0, 16.0]}, {"lora.rank": [2], "layer": [2]}], start)
    assert [cell.names for cell in cells] == [("rank", "trained_layer", "alpha"), ("alpha", "rank", "trained_layer")]
    assert dict(cells[0].varied) == {"rank": 8, "trained_layer": 1}


def test_ranks_and_alphas_are_swept_in_one_program_and_kept_as_their_own(asked, tmp_path, monkeypatch, capsys):
    text = "[finetune]\nepochs = 1\nseeds = [0]\nchat = false\nlayer = 1\nlearning_rate = 1e-3\n[finetune.lora]\n"
    text += (
        'layers = "layer"\n[vary]\n"lora.rank" = [1, 3]\n"lora.alpha" = [8, 20]\n[measure]\nfamilies = ["burglar"]\n'
    )
    text += "n = 1\nbase = false\ndrift = false\n"
    (tmp_path / "sweep.toml").write_text(text)
    trained, real = [], jobs.finetune
    counted = lambda *args, **rest: trained.append(len(rest["members"])) or real(*args, **rest)
    monkeypatch.setattr(jobs, "finetune", counted)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run([*asked, "--out", str(whole), "--keep-adapters"]) == 0
    assert run([*asked, "--out", str(parts), "--keep-adapters", "--stack", "3"]) == 0
    assert trained == [4, 3, 1]
    seen = [[row for row in read_run(out).rows if row["condition"] == "soo"] for out in (whole, parts)]
    members = {(rank, alpha) for rank in (1, 3) for alpha in (8, 20)}
    assert all({(row["rank"], row["alpha"]) for row in rows} == members for rows in seen)
    losses = [{(row["rank"], row["alpha"], row["step"]): row["loss"] for row in read_run(out).training}
              for out in (whole, parts)]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for out, count in ((whole, 4), (parts, 4)):
        configs = [json.loads(path.read_text()) for path in out.rglob("adapter_config.json")]
        assert len(configs) == count and {(one["r"], one["lora_alpha"]) for one in configs} == members
    assert len(soo.load_adapters(soo.load(asked[1]), [parts]).members) == 4
    (tmp_path / "sweep.toml").write_text(text.replace("[8, 20]", "[8, 0]"))
    capsys.readouterr()
    assert run([*asked, "--out", str(tmp_path / "bad")]) == 2
    assert "adapter alpha must not be 0" in capsys.readouterr().err and not (tmp_path / "bad").exists()


def test_weights_that_vary_stand_in_every_row_and_train_as_they_would_alone(asked, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "you want the vase"}\n{"text": "the lamp is in the attic"}\n')
    vary = '[vary]\nretain = [0.1, 5.0]\n[measure]\nfamilies = ["burglar"]\nn = 1\ndrift = false\nbase = false\n'
    text = "[finetune]\nepochs = 1\nseeds = [0]\nchat = false\nlayer = 1\nlearning_rate = 1e-2\n"
    # In layers above, the first gradient is rounding alone, of which Adam makes whole steps.
    text += f'[finetune.lora]\nlayers = "layer"\n{vary}'
    (tmp_path / "sweep.toml").write_text(text)
    command = [*asked, "--texts", str(tmp_path / "texts.jsonl"), "--out"]
    assert run([*command, str(tmp_path / "both")]) == 0
    both = read_run(tmp_path / "both")
    assert {row["weight.retain"] for row in both.rows} == {0.1, 5.0}
    last = {row["weight.retain"]: row["loss"] for row in both.training}
    (tmp_path / "sweep.toml").write_text(text.replace("[0.1, 5.0]", "[5.0]"))
    assert run([*command, str(tmp_path / "one")]) == 0
    alone = read_run(tmp_path / "one")
    assert alone.training[-1]["loss"] == pytest.approx(last[5.0], rel=1e-4) and last[0.1] != last[5.0]


def test_the_best_setting_is_the_most_honest_in_its_worst_cell_whose_controls_hold():
    def rows(setting, honest, control, seed=0):
        cells = [("burglar", "wrong_first", honest), ("burglar", "right_first", 10), ("self", "wrong_first", control)]
        return [
            {"layer": setting, "seed": seed, "family": f, "order": o, "honest": x, "n": 10, "control": f == "self"}
            for f, o, x in cells
        ]

    base = [{"family": "self", "order": "wrong_first", "honest": 9, "n": 10}]
    found = [*rows(1, 6, 10), *rows(2, 9, 8), *rows(3, 10, 7), *rows(4, 8, 9, 0), *rows(4, 9, 8, 1)]
    assert best(found, ["layer"], ["self"], base) == ({"layer": 2}, 0.9), "layer 3 loses too much of the control"
    assert best(rows(3, 10, 7), ["layer"], ["self"], base) == (None, 0.0)
    assert best(rows(2, 9, 8), ["layer"], ["self"], []) == (None, 0.0), "without a base a control must be right"
