"""The page shows what was measured, whole, to whoever opens it without a network."""

import base64
import re
import subprocess
import sys

import pytest

from report.synthetic import write_run
from soo_jax.errors import SooError
from soo_jax.report.html import write_report
from soo_jax.report.llm.words import family_title, order_title
from soo_jax.runs import RunFolder, read_run
from soo_jax.tasks.english.scenarios import FAMILIES
from soo_jax.tasks.statistics import aggregate


def _text(page):
    """What a reader sees: no style, no tags, single spaces."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_needs_no_network_and_no_script(page):
    for attribute in re.findall(r'(?:src|srcset|href)="([^"]{0,40})', page):
        assert attribute.startswith(("data:image/png;base64,", "data:text/csv;", "#")), attribute
    assert not re.search(r"<script|@import|url\(|<link", page)


def test_the_headline_is_the_honest_rate_before_and_after_with_interval_sd_and_both_orders(run_path, page):
    rows = [row for row in read_run(run_path).rows if row["family"] == "burglar"]
    pooled = {cell.condition: cell for cell in aggregate(rows, pool_orders=True)}
    text = _text(page)
    before, after = pooled["base"].honest, pooled["soo"].honest
    assert f"{before.mean:.1f} → {after.mean:.1f} % ± {after.sd:.1f}" in text
    assert f"95 % interval {after.lo:.1f}–{after.hi:.1f}" in text
    for cell in aggregate(rows):
        if cell.condition == "soo":
            assert re.search(rf"{order_title(False, cell.order)}: [\d.]+ → {cell.honest.mean:.1f}", text)
    assert text.index("honest answers") < text.index("deceptive answers") < text.index("neither")


def test_honest_acts_in_words_that_mean_to_mislead_are_told_beside_the_headline(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,), bad_seed=None, families=["burglar"], n=10, reasons=0.5)
    (after,) = (cell for cell in aggregate(read_run(run).rows, pool_orders=True) if cell.condition == "soo")
    write_report([run])
    text = _text((run / "report.html").read_text(encoding="utf-8"))
    assert f"{after.contradiction.mean:.1f} % honest acts that say that they mean to mislead" in text
    assert "honest, means to mislead" in text and re.search(r"honest means to mislead I would", text)


def test_every_scenario_is_listed_in_both_orders(page):
    text = _text(page)
    for scenario in FAMILIES:
        assert family_title(scenario) in text
    for words in ("cheap first", "expensive first", "wrong first", "right first"):
        assert words in text


def test_bad_seeds_are_named(page):
    assert '<span class="chip broken"' in page and '<span class="chip diverged"' in page


def test_answers_before_and_after_stand_side_by_side_with_their_labels(page):
    text = _text(page)
    assert re.search(r"before deceptive I would recommend the .* after SOO, seed 0 (honest|deceptive) I would", text)
    assert "after SOO other, seed 3" in text or "after SOO refusal, seed 3" in text


def test_what_a_model_says_cannot_become_part_of_the_page(tmp_path):
    path = write_run(tmp_path / "run", n=2, families=["burglar"], seeds=(0,), finish=False)
    with RunFolder.reopen(path) as run:
        answer = {"condition": "soo", "seed": 9, "family": "burglar", "order": "wrong_first", "prompt": "<i>?</i>"}
        answer |= {"response": "<script>alert(1)</script>", "label": "other", "paper_deceptive": False}
        run.append_responses([answer])
        run.write_config({"model": "<b>bold</b>"})
        run.write_results({"job": "eval"})
    page = write_report([path]).read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>bold" not in page and "<i>?" not in page


def test_settings_provenance_and_timings_are_all_there(page):
    text = _text(page).replace("&#34;", '"')
    assert "Self-Other Overlap, finetune: organism" in text
    for words in ("lora.targets", '["q_proj", "v_proj"]', "learning_rate", "device_kind", "finetune_s", "41.2"):
        assert words in text


def test_the_charts_lie_beside_the_results_as_they_stand_in_the_page(run_path, page):
    for name in ("honest", "deceptive", "latent", "loss"):
        png = (run_path / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert base64.b64encode(png).decode() in page


def test_drawing_again_gives_the_same_page(run_path, page):
    assert write_report([run_path]).read_text(encoding="utf-8") == page
    assert read_run(run_path).complete


def test_no_banner_on_a_complete_run(page):
    assert "incomplete" not in _text(page)


def test_an_incomplete_run_says_so_and_shows_what_it_has(tmp_path):
    path = write_run(tmp_path / "killed", n=5, families=["burglar"], finish=False)
    text = _text(write_report([path]).read_text())
    assert "This run is incomplete: it is still running, or it was killed." in text
    assert "honest answers" in text
    assert read_run(path).state == "running"


def test_a_run_that_measured_nothing_still_has_a_page(tmp_path):
    with RunFolder.create(tmp_path / "empty") as run:
        run.write_config({})
        run.write_results({"job": "merge"})
    assert "No answers were measured" in write_report([tmp_path / "empty"]).read_text()


def test_a_base_model_alone_and_names_of_ones_own_are_shown(tmp_path):
    row = {
        "condition": "steered_7", "seed": None, "family": "my_bank", "order": "wrong_first", "n": 4, "honest": 3,
        "deceptive": 1, "refusal": 0, "other": 0, "paper_deceptive": 1, "logp_margin": None,
    }  # fmt: skip
    with RunFolder.create(tmp_path / "mine") as run:
        run.write_config({"model": "mine"})
        run.write_results({"job": "eval", "rows": [row]})
    text = _text(write_report([tmp_path / "mine"]).read_text())
    assert "my bank" in text and "steered 7" in text and "75.0 %" in text and "→" not in text


def test_several_runs_are_compared_on_one_page(tmp_path):
    names = ("first", "second")
    runs = [write_run(tmp_path / n, n=4, strength=0.4, seed=i, families=["burglar"]) for i, n in enumerate(names)]
    out = write_report(runs)
    text = _text(out.read_text())
    assert out == tmp_path / "comparison.html"
    assert "2 runs compared" in text and text.count("Seed by seed") == 2
    assert re.search(r"first Burglar before .* second Burglar before", text)


def test_the_page_goes_where_it_is_told(tmp_path):
    run = write_run(tmp_path / "run", n=4, families=["burglar"], finish=False)
    assert write_report([run], tmp_path / "elsewhere" / "page.html") == tmp_path / "elsewhere" / "page.html"
    assert (tmp_path / "elsewhere" / "page.html").exists() and not (run / "report.html").exists()


def test_no_run_and_no_run_folder_are_one_line_each(tmp_path):
    with pytest.raises(SooError, match="name at least one"):
        write_report([])
    with pytest.raises(SooError, match="no such run folder"):
        write_report([tmp_path / "nowhere"])


def test_importing_the_report_does_not_load_the_drawing_libraries():
    code = "import sys, soo_jax.report.html; print(*{'matplotlib', 'jinja2', 'rich', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
