"""What the documents tell a reader to type works, and the figures in them are those of the code."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import soo_jax.overlap
from scripts.scaling_tables import BEGIN, CASES, END, lines
from soo_jax.cli import run

ROOT = Path(__file__).parents[1]
ORGANISM = ROOT / "soo_jax" / "models" / "organism" / "model.safetensors"
needs_organism = pytest.mark.skipif(not ORGANISM.is_file(), reason="the organism's weights are not in this checkout")


def blocks(document, section=""):
    """Fenced code blocks of a section (or of all) as (language, text)."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if section:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)


def follow(document, section, folder, monkeypatch):
    """Does what a section says, in order, in a folder of its own: the Python blocks share their names."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    names, done = {"__name__": "docs"}, 0
    for language, text in blocks(document, section):
        if text.startswith("# file: "):
            name = text.split("\n")[0].removeprefix("# file: ")
            (folder / name).write_text(text)
            if name.startswith("make_"):
                exec(compile(text, f"{document}: {name}", "exec"), names)
        elif language == "python":
            exec(compile(text, f"{document}: {section}", "exec"), names)
            done += 1
        elif language == "json":
            (folder / "letter.jsonl").write_text(text)
        elif language == "bash":
            for line in text.strip().splitlines():
                program, *arguments = shlex.split(line)
                assert program == "soo" and run(arguments) == 0, line
                done += 1
    return names, done


@needs_organism
def test_the_quickstart_of_the_readme_works(tmp_path, monkeypatch):
    names, done = follow("README.md", "Quickstart", tmp_path, monkeypatch)
    assert done == 8
    assert {row["seed"] for row in names["after"].rows} == {0, 1, 2, 3, 4}
    assert names["objective"].names == ("overlap", "gap")
    assert (tmp_path / "my-adapter" / "adapter_config.json").is_file()
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert (tmp_path / "runs" / "comparison.html").is_file()


def sources():
    """What the library consists of, with sizes and times."""
    files = [path for room in ("soo_jax", "envs", "tests") for path in (ROOT / room).rglob("*.py")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@needs_organism
@pytest.mark.parametrize(
    ("section", "steps", "files"),
    [
        ("A loss term", 4, ["gap.py", "hold.py"]),  # two examples, of a file each
        ("A scenario", 1, ["letter.jsonl"]),
        ("A task pack", 2, ["make_bank.py"]),
        ("A game", 3, ["selling.py"]),
        ("A learner", 2, ["forgetful.py"]),
    ],
)
def test_the_worked_examples_of_the_contributing_guide_work_and_are_one_file_each(
    tmp_path, monkeypatch, section, steps, files
):
    before = sources()
    assert follow("CONTRIBUTING.md", section, tmp_path, monkeypatch)[1] == steps
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == files and sources() == before
    for name in ("gap", "hold", "forgetful"):
        sys.modules.pop(name, None)


def test_the_worked_example_of_an_architecture_has_parity_with_transformers(tmp_path, monkeypatch):
    from soo_jax.models import architectures

    known = architectures.ARCHITECTURES
    monkeypatch.setitem(known, "ministral", None)  # what the example enters is taken out again
    known.pop("ministral")
    before = sources()
    names, done = follow("CONTRIBUTING.md", "An architecture", tmp_path, monkeypatch)
    assert done == 2 and names["ours"].architecture == "ministral"
    assert len(set(names["ours"].windows)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["ministral.py"] and sources() == before
    # The same file, put beside the built-in ones, is found without a word elsewhere.
    assert "ministral" not in [one.name for one in architectures.found()]
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    assert "ministral" in [one.name for one in architectures.found()]
    for name in ("ministral", "soo_jax.models.architectures.ministral"):
        sys.modules.pop(name, None)


def test_the_example_of_stated_intent_holds(tmp_path, monkeypatch):
    assert follow("docs/data.md", "Stated intent", tmp_path, monkeypatch)[1] == 1


def test_every_python_block_of_the_documents_stands_in_a_section_that_a_test_runs():
    run_here = {
        "README.md": ["Quickstart"],
        "CONTRIBUTING.md": ["A loss term", "A task pack", "An architecture", "A game", "A learner"],
        "docs/rl.md": ["In Python"],
        "docs/data.md": ["Stated intent"],
        "docs/sweeps.md": ["In Python"],
    }
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        name = path.relative_to(ROOT).as_posix()
        python = lambda found: [text for language, text in found if language == "python"]
        ran = [text for section in run_here.get(name, ()) for text in python(blocks(name, section))]
        assert python(blocks(name)) == ran, name


@pytest.mark.parametrize("module", ["terms", "distances", "objective"])
def test_the_examples_in_the_docstrings_of_the_objective_hold(module):
    import doctest
    import importlib

    found = doctest.testmod(importlib.import_module(f"soo_jax.overlap.{module}"))
    assert found.attempted > 2 and not found.failed
    public = [value for value in map(soo_jax.overlap.__dict__.get, soo_jax.overlap.__all__) if callable(value)]
    own = [one for one in public if one.__module__ == f"soo_jax.overlap.{module}" and not isinstance(one, type)]
    assert own and all(">>>" in one.__doc__ and "math::" in one.__doc__ for one in own)


def test_the_plans_for_mistral_are_what_the_planner_says():
    """The whole table is written by the script; one model is enough to notice that it has grown old."""
    shown = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].splitlines()
    assert [line for line in shown if "| Mistral" in line] == list(lines("Mistral-7B-Instruct-v0.2"))
    assert len(shown) == 2 + 2 * sum(map(len, CASES.values()))


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *(f"docs/{name}.md" for name in ("models", "scaling", "presets", "organism", "rl", "data", "bridges")),
    ],
)
def test_every_link_into_the_repository_leads_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def test_every_option_that_the_documents_mention_exists():
    from typer.main import get_command

    from soo_jax.cli.app import app

    commands = get_command(app).commands
    for document in (
        "README.md",
        *(f"docs/{name}.md" for name in ("models", "scaling", "presets", "rl", "bridges", "data")),
    ):
        for line in re.findall(r"^soo (.*)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE):
            name, *rest = line.split("#")[0].split()
            command = commands[name]
            if hasattr(command, "commands"):
                command = command.commands[rest[0]]
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            known |= {"--debug", "--distributed"}  # of the program, not of one command
            assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, (document, line)


def test_every_preset_is_described():
    from soo_jax.llm.config import PRESETS

    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    assert all(name in text for name in PRESETS)
    header, *lines = [line for line in text.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    told = {line.strip("|").split("|")[0].strip(): [c.strip() for c in line.strip("|").split("|")] for line in lines}
    for name in ("paper-mistral", "paper-gemma2", "paper-calme"):
        column, preset = columns.index(name), PRESETS[name]
        lora = f"{preset.lora.rank} / {preset.lora.alpha:g} / {preset.lora.dropout:g}"
        assert told["layer"][column].startswith(str(preset.layer))
        assert told["rank / alpha / dropout"][column].startswith(lora)
        assert float(told["learning rate"][column].split(",")[0]) == preset.learning_rate
        assert told["epochs, batch"][column].startswith(f"{preset.epochs}, {preset.batch_size}")


def test_the_python_of_the_rl_page_runs(tmp_path, monkeypatch):
    names, done = follow("docs/rl.md", "In Python", tmp_path, monkeypatch)
    assert done == 1 and names["metrics"]["reward_blue"].shape == (3, 2)


def test_a_sweep_takes_a_game_a_learner_and_a_network_of_ones_own(tmp_path, monkeypatch):
    names, done = follow("docs/sweeps.md", "In Python", tmp_path, monkeypatch)
    sys.modules.pop("market", None)
    over = names["over"]
    assert done == 1 and set(names["frame"].kind) == {"baseline", "treated"}
    for greed in (0.5, 1.0):  # the best price lies half of the greed above what the thing is worth
        assert over["treated", greed, 0.0] == pytest.approx(greed / 2, abs=0.1)
        assert over["treated", greed, 100.0] < 0.8 * over["treated", greed, 0.0], "SOO takes some of it"
