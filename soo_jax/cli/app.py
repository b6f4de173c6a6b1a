"""The commands and their settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from soo_jax.cli.rl import rl
from soo_jax.errors import SooError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Self-Other Overlap: make agents more honest, and measure whether they are. "
    "Every command takes --debug for the whole traceback of an error.",
)
app.add_typer(rl, name="rl")

Model = Annotated[str, typer.Argument(help="Hugging Face folder, or 'organism' for the built-in model.")]
Out = Annotated[Path, typer.Option(help="Run folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier run in the output folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Dtype = Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16 or float16.")]
MeshText = Annotated[str | None, typer.Option("--mesh", help="Devices, e.g. data=2,fsdp=2,tensor=2.")]
Adapters = Annotated[
    list[Path] | None,
    typer.Option("--adapter", help="PEFT folder, or a run folder with adapters; may be repeated."),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from soo_jax import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    seed: Annotated[str, typer.Option(help="Seeds, one adapter each.")] = "0,1,2,3,4",
    n: Annotated[int, typer.Option(help="Held-out instances per scenario and order.")] = 100,
    force: Force = False,
    quiet: Quiet = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, few instances and epochs: a smoke test.")] = False,
) -> None:
    """The built-in organism: measure, fine-tune all seeds, measure again, report."""
    _check_out(out, force)
    soo = _start()
    from dataclasses import replace

    from soo_jax.llm.jobs import Measure, run_demo, with_quick

    config = replace(soo.preset("organism"), seeds=_numbers("seed", seed))
    if quick:
        config, n = with_quick(config), min(n, 4)
    lm = soo.load("organism")
    with _reporter(quiet) as reporter:
        run_demo(
            lm,
            config,
            Measure(n=n),
            _organism_eval(),
            out,
            force=force,
            settings={"seed": seed, "n": n, "quick": quick},
            reporter=reporter,
        )
    _finish(out, table=True)


@app.command()
def finetune(
    model: Model,
    out: Out,
    preset: Annotated[str | None, typer.Option(help="organism, paper-mistral, paper-gemma2, ...")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file of settings, or config.json of a run.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Your own pairs (JSON lines), or: scenes.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Ordinary texts for terms that keep ability.")] = None,
    site: Annotated[str | None, typer.Option(help="attn_out, mlp_out, residual or logits.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer or layers, e.g. 16 or 14,15,16.")] = None,
    tokens: Annotated[str | None, typer.Option(help="last, mean or all.")] = None,
    distance: Annotated[str | None, typer.Option(help="mse, normalised_mse, cosine, kl, ...")] = None,
    direction: Annotated[str | None, typer.Option(help="both, other_to_self, self_to_other or anchored.")] = None,
    retain: Annotated[float | None, typer.Option(help="Weight of the KL to the base model on --texts.")] = None,
    term: Annotated[list[str] | None, typer.Option(help="Your own term, file.py:name[=weight].")] = None,
    overlap_weight: Annotated[float | None, typer.Option(help="Weight of the overlap term.")] = None,
    learning_rate: Annotated[str | None, typer.Option(help="One rate, or several to sweep.")] = None,
    epochs: Annotated[int | None, typer.Option()] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs in a micro-batch.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Micro-batches in an update.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank.")] = None,
    alpha: Annotated[float | None, typer.Option(help="LoRA alpha.")] = None,
    dropout: Annotated[float | None, typer.Option(help="LoRA dropout.")] = None,
    targets: Annotated[str | None, typer.Option(help="Adapted projections, e.g. q,v.")] = None,
    adapter_layers: Annotated[str | None, typer.Option(help="Adapted layers, or all (default).")] = None,
    rslora: Annotated[bool | None, typer.Option(help="Rank-stabilised scaling.")] = None,
    extended: Annotated[bool | None, typer.Option(help="Built-in pairs up to the decision.")] = None,
    chat: Annotated[bool | None, typer.Option(help="Pairs as chat messages.")] = None,
    remat: Annotated[bool | None, typer.Option(help="Recompute layers in the backward pass.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Updates between checkpoints.")] = None,
    seed: Annotated[str | None, typer.Option(help="Seeds, one adapter each, e.g. 0,1,2.")] = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """SOO fine-tuning: one adapter per seed, all in one program."""
    begun: dict[str, Any] = {}
    if resume:
        begun = _interrupted_run(out)
    else:
        _check_out(out, force)
    soo = _start()
    from soo_jax.llm.config import config_from_dict
    from soo_jax.llm.config import preset as by_name
    from soo_jax.llm.jobs import read_config_file, run_finetune

    lora = {
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "targets": None if targets is None else targets.split(","),
        "rslora": rslora,
    }
    lora = {name: value for name, value in lora.items() if value is not None}
    if adapter_layers is not None:
        lora["layers"] = None if adapter_layers == "all" else list(_numbers("adapter-layers", adapter_layers))
    given = {
        "site": site,
        "layer": None if layer is None else _one_or_more(_numbers("layer", layer)),
        "tokens": tokens,
        "distance": distance,
        "direction": direction,
        "retain": retain,
        "terms": term,
        "overlap_weight": overlap_weight,
        "learning_rate": None
        if learning_rate is None
        else _one_or_more(_numbers("learning-rate", learning_rate, float)),
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "lora": lora or None,
        "extended": extended,
        "chat": chat,
        "remat": remat,
        "checkpoint_every": checkpoint_every,
        "seeds": None if seed is None else _numbers("seed", seed),
    }
    settings = by_name(preset) if preset else None
    if config is None and preset is None and "finetune" in begun:
        config = out / "config.json"  # a run is resumed with the settings that it was begun with
        told = begun.get("settings", {})
        pairs, texts = (
            own or (Path(told[name]) if told.get(name) else None) for name, own in (("pairs", pairs), ("texts", texts))
        )
        dtype = told.get("dtype", dtype) if dtype == "auto" else dtype
    if config is not None:
        settings = _from_file(config, settings, read_config_file, config_from_dict)
    settings = config_from_dict({name: value for name, value in given.items() if value is not None}, settings)
    lm = soo.load(model, dtype, _mesh(mesh))
    with _reporter(quiet) as reporter:
        run_finetune(
            lm,
            settings,
            out,
            pairs_file=pairs,
            texts_file=texts,
            resume=resume,
            force=force,
            settings={"model": model, "dtype": dtype, "mesh": mesh, "preset": preset, "pairs": pairs, "texts": texts},
            reporter=reporter,
        )
    _finish(out)


@app.command("eval")
def evaluate(
    model: Model,
    out: Out,
    adapter: Adapters = None,
    scenarios: Annotated[Path | None, typer.Option(help="Your own scenarios (JSON lines).")] = None,
    families: Annotated[str | None, typer.Option(help="Built-in families, e.g. burglar,self.")] = None,
    n: Annotated[int, typer.Option(help="Held-out instances per family and order.")] = 250,
    split: Annotated[str, typer.Option(help="test, or validation to choose settings.")] = "test",
    seed: Annotated[int, typer.Option(help="Of the instances, and of sampling.")] = 0,
    suffix: Annotated[str, typer.Option(help="Answer suffix: none, i_would or room_only.")] = "none",
    chat: Annotated[bool | None, typer.Option(help="Chat template; default: if the model has one.")] = None,
    max_new_tokens: Annotated[int, typer.Option()] = 32,
    batch_size: Annotated[int, typer.Option(help="Prompts in one device call.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option()] = 1.0,
    honesty: Annotated[bool, typer.Option(help="Also measure the honesty prompt.")] = True,
    base: Annotated[bool, typer.Option(help="Also measure the model without adapters.")] = True,
    margins: Annotated[bool, typer.Option(help="Also measure log-probability margins.")] = True,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Deception rates with controls, both orders, every response kept."""
    _check_out(out, force)
    if not (base or honesty or adapter):
        raise SooError("eval: nothing to measure; leave --base on or give an --adapter")
    soo = _start()
    from soo_jax.llm.jobs import Measure, run_evaluate

    config = soo.EvalConfig(max_new_tokens, batch_size, suffix, chat, temperature, top_p, seed, margins)
    chosen = tuple(families.split(",")) if families else None
    lm = soo.load(model, dtype, _mesh(mesh))
    with _reporter(quiet) as reporter:
        run_evaluate(
            lm,
            Measure(scenarios, chosen, n, seed, split, honesty, base),
            config,
            out,
            adapter_folders=adapter or (),
            force=force,
            settings={"model": model, "dtype": dtype, "mesh": mesh, "adapter": [str(a) for a in adapter or ()]},
            reporter=reporter,
        )
    _finish(out, table=True)


@app.command()
def latent(
    model: Model,
    out: Out,
    adapter: Adapters = None,
    pairs: Annotated[Path | None, typer.Option(help="Your own probe pairs (JSON lines).")] = None,
    tokens: Annotated[str, typer.Option(help="last or mean.")] = "last",
    extended: Annotated[bool, typer.Option(help="Built-in probes up to the decision.")] = False,
    chat: Annotated[bool, typer.Option(help="Probes as chat messages.")] = False,
    seed: Annotated[int, typer.Option(help="Unused by the built-in probes, which are fixed.", hidden=True)] = 0,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Layer-wise distance between self and other, before and after."""
    _check_out(out, force)
    soo = _start()
    from soo_jax.llm.jobs import run_latent

    lm = soo.load(model, dtype, _mesh(mesh))
    with _reporter(quiet):
        run_latent(
            lm,
            out,
            adapter_folders=adapter or (),
            pairs_file=pairs,
            tokens=tokens,
            extended=extended,
            chat=chat,
            force=force,
            settings={"model": model, "dtype": dtype, "mesh": mesh, "adapter": [str(a) for a in adapter or ()]},
        )
    _finish(out)


@app.command()
def merge(
    model: Model,
    adapter: Annotated[Path, typer.Option(help="PEFT folder.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    dtype: Dtype = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a model folder.")] = False,
) -> None:
    """The model with an adapter added in, as a Hugging Face folder."""
    soo = _start()
    from soo_jax.llm.folders import check_merge_out

    check_merge_out(out, Path(model), force)
    lm = soo.load(model, dtype)
    print(soo.merge_folder(lm, soo.load_adapter(lm, adapter), out, force))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    out: Annotated[Path | None, typer.Option(help="Page to write; default: report.html in the first run.")] = None,
) -> None:
    """Draw a run's report again, or compare several runs."""
    from soo_jax.report.html import write_report
    from soo_jax.runs import read_run

    page = write_report(runs, out)
    for run in map(read_run, runs):
        if not run.complete:
            print(f"soo: {run.path}: this run is incomplete ({run.state})", file=sys.stderr)
    print(page)


def _start() -> Any:
    """Imports the library with a persistent compilation cache in the user's cache folder."""
    import os

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "soo-jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import soo_jax

    return soo_jax


def _reporter(quiet: bool) -> Any:
    from soo_jax.cli.progress import Bars

    return Bars(quiet)


def _mesh(text: str | None) -> Any:
    if text is None:
        return None
    from soo_jax.parallel import parse_mesh

    return parse_mesh(text)


def _organism_eval() -> Any:
    from soo_jax.llm.evaluate import EvalConfig

    return EvalConfig(max_new_tokens=12, batch_size=256)


def _from_file(path: Path, start: Any, read: Any, change: Any) -> Any:
    """The settings in a file; what is wrong with one of them is said with the file's name."""
    values = read(path)
    try:
        return change(values, start)
    except SooError as error:
        raise SooError(f"{path}: {error}") from error


def _interrupted_run(out: Path) -> dict[str, Any]:
    """What the config of an incomplete run says; refuses any other folder before anything slow begins."""
    from soo_jax.runs import read_run

    run = read_run(out)
    if run.complete:
        raise SooError(f"{out}: this run is complete, there is nothing to resume; choose another folder or --force")
    if run.config and run.config.get("job") != "finetune":
        raise SooError(f"{out}: is a run of soo {run.config.get('job')}; only soo finetune can resume")
    return run.config


def _check_out(out: Path, force: bool) -> None:
    """Refuses an output folder that is in use before anything slow begins; the run folder checks again."""
    if out.exists() and not out.is_dir():
        raise SooError(f"{out}: is a file where a folder is needed; choose another name")
    if not force and out.is_dir() and any(out.iterdir()):
        raise SooError(f"{out}: the folder is not empty; choose another one, or replace an earlier run with --force")


def _numbers(name: str, text: str, kind: type = int) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise SooError(f"--{name} {text!r}: write numbers with commas between them, e.g. 0,1,2") from error


def _one_or_more(numbers: tuple[Any, ...]) -> Any:
    return numbers[0] if len(numbers) == 1 else numbers


def _finish(out: Path, table: bool = False) -> None:
    """Draws the report and prints the table."""
    from soo_jax.report.html import write_report

    page = write_report([out])
    if table:
        from rich.console import Console

        from soo_jax.report.tables import terminal_table
        from soo_jax.runs import read_run

        Console().print(terminal_table([read_run(out)]))
    print(f"report: {page}")
