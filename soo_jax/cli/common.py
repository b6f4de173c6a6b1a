"""What several commands share: their settings, how they begin, and how they end."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from soo_jax.errors import SooError

writes = True
"""Whether this process writes and speaks; in a distributed run the first one does."""
MOST = 1_000_000
"""Numbers in one range."""
RUN = "The run"
"""Heading of the settings that every command has."""


def option(help: str, group: str | None = None, *names: str) -> Any:
    """A setting with its help, under a heading."""
    return typer.Option(*names, help=help, rich_help_panel=group)


Model = Annotated[
    str,
    typer.Argument(
        help="Hugging Face folder, GGUF file, org/name[@revision] on the Hub, a small pretrained model "
        "('smollm2', 'qwen05', ...), or an organism of this library: 'organism', 'smollm2-organism'."
    ),
]
Out = Annotated[Path, option("Run folder to write.", RUN)]
Force = Annotated[bool, option("Replace an earlier run in the output folder.", RUN, "--force")]
Quiet = Annotated[bool, option("No progress bars.", RUN, "--quiet")]
Resume = Annotated[bool, option("Go on with an interrupted run.", RUN, "--resume")]
Log = Annotated[
    str | None,
    option("Also send metrics.csv's metrics to tensorboard or wandb, or both with a comma.", RUN, "--log"),
]
Dtype = Annotated[
    str,
    option(
        "auto (as stored; on a CPU float32 if it fits), stored, float32, bfloat16, float16; nf4 or int8: the layers' "
        "weights in 4 or 8 bits, the rest as auto does, or as in nf4:bfloat16.",
        RUN,
        "--dtype",
        "--base-dtype",
    ),
]
MeshText = Annotated[str | None, option("Devices, e.g. data=2,fsdp=2,tensor=2; auto chooses.", RUN, "--mesh")]
Config = Annotated[
    Path | None,
    option("JSON or TOML file of settings, or config.json of a run; what is given here wins.", RUN, "--config"),
]


def _options_from(context: typer.Context, path: Path | None) -> Path | None:
    """Takes a command's options from a file; what is given on the command line wins.

    Raises:
      SooError: the file cannot be read, or names an option that the command does not have.
    """
    if path is None:
        return None
    from soo_jax.jobs.config_files import read_config_file

    values, known = read_config_file(path), sorted(one.name for one in context.command.params if one.name != "config")
    for name in values:
        if name not in known:
            raise SooError(f"{path}: option {name!r} is unknown; choose from {', '.join(known)}")
    joined = {
        name: ",".join(map(str, v)) if isinstance(v, list) and name != "adapter" else v for name, v in values.items()
    }
    context.default_map = {**(context.default_map or {}), **joined}
    return path


Options = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="JSON or TOML file of these options; what is given here wins.",
        rich_help_panel=RUN,
        is_eager=True,
        callback=_options_from,
    ),
]
Tasks = Annotated[
    Path | None,
    option("Folder of a task pack of your own (docs/data.md), or english, taught, narrow.", "Texts", "--tasks"),
]
Adapters = Annotated[
    list[Path] | None,
    option("PEFT folder, or a run folder with adapters; may be repeated.", "What is measured", "--adapter"),
]


def start(spread: bool = False) -> Any:
    """Imports the library with a persistent compilation cache in the user's cache folder.

    Args:
      spread: one device per core where there is only a CPU, for work that is spread over devices.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "soo-jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import soo_jax

    if spread and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        from contextlib import suppress

        import jax

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with suppress(RuntimeError):  # JAX has begun already, in the process of somebody who calls this as a function
            jax.config.update("jax_num_cpu_devices", cores)
    return soo_jax


def bars(quiet: bool) -> Any:
    """Where progress is drawn."""
    from soo_jax.cli.progress import Bars

    return Bars(quiet)


def mesh_of(text: str | None, model: str = "", dtype: str = "auto", finetune: Any = None) -> Any:
    """The mesh that was asked for, or None.

    ``auto`` takes the fastest layout that fits all devices, by :mod:`soo_jax.llm.planner`, and says why.

    Args:
      model, dtype: what is loaded onto it. finetune: the settings of a fine-tuning; without them answers are planned.
    """
    if text is None:
        return None
    from soo_jax.parallel import parse_mesh

    if text != "auto":
        return parse_mesh(text)
    import jax

    from soo_jax.llm.chips import chip_of
    from soo_jax.llm.config import FinetuneConfig
    from soo_jax.llm.organisms import config_of
    from soo_jax.llm.planner import Work, choose_mesh

    work = Work("finetune" if finetune else "eval", finetune or FinetuneConfig(), dtype)
    mesh, why = choose_mesh(config_of(model), chip_of(jax.devices()[0]), jax.device_count(), work)
    print(f"soo: mesh {mesh}: {why}", file=sys.stderr)
    return None if str(mesh) == "none" else parse_mesh(str(mesh))


def check_out(out: Path, force: bool) -> None:
    """Refuses an output folder that is in use before anything slow begins; the run folder checks again."""
    if not writes:
        return
    if out.exists() and not out.is_dir():
        raise SooError(f"{out}: is a file where a folder is needed; choose another name")
    if not force and out.is_dir() and any(out.iterdir()):
        raise SooError(f"{out}: the folder is not empty; choose another one, or replace an earlier run with --force")


def trackers(text: str | None) -> tuple[str, ...]:
    """What ``--log`` names; refused here, before anything slow begins, where it cannot be had."""
    from soo_jax.trackers import check_trackers

    return check_trackers(text.split(",") if text else ())


def numbers(name: str, text: str, kind: type = int) -> tuple[Any, ...]:
    """Numbers with commas between them; of whole ones also ranges, with both ends: ``0-7,12``."""
    try:
        return tuple(one for part in text.split(",") for one in _range(part, kind))
    except ValueError as error:
        ranges = ", or a range such as 0-7" if kind is int else ""
        raise SooError(f"--{name} {text!r}: write numbers with commas between them, e.g. 0,1,2{ranges}") from error


def _range(part: str, kind: type) -> Sequence[Any]:
    """One number, or all of a range. Raises ValueError where it is neither, or the range runs down or has no end."""
    ends = re.fullmatch(r"(\d+)-(\d+)", part.strip()) if kind is int else None
    if ends is None:
        return [kind(part)]
    found = range(int(ends[1]), int(ends[2]) + 1)
    if not 0 < len(found) <= MOST:
        raise ValueError(part)
    return found


def one_or_more(found: tuple[Any, ...]) -> Any:
    """A single number as itself."""
    return found[0] if len(found) == 1 else found


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given."""
    return {name: value for name, value in values.items() if value is not None}


def from_file(path: Path, start: Any, change: Callable[[dict[str, Any], Any], Any], *parts: str) -> Any:
    """Settings changed by those in a file; what is wrong with one of them is said with the file's name.

    Args:
      parts: of a run's ``config.json``, which objects hold the settings.
    """
    from soo_jax.jobs.config_files import read_config_file

    values = read_config_file(path, *parts)
    try:
        return change(values, start)
    except SooError as error:
        raise SooError(f"{path}: {error}") from error


def finish(out: Path, *tables: Callable[[list[Any]], Any]) -> None:
    """Draws the report, and prints tables of the run."""
    if not writes:
        raise typer.Exit
    from soo_jax.report.html import write_report
    from soo_jax.runs import read_run

    page = write_report([out])
    if tables:
        from rich.console import Console

        run = read_run(out)
        for table in tables:
            Console().print(table([run]))
    print(f"report: {page}")
