"""``soo plan``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soo_jax.cli.common import Config, from_file, given, numbers, option, start
from soo_jax.errors import SooError

if TYPE_CHECKING:
    from soo_jax.llm.planner import Plan, Work
    from soo_jax.models.config import DecoderConfig

WHAT, SIZES = "What is to be done", "How large it is"


def plan(
    model: Annotated[str, typer.Argument(help="Hugging Face folder (config.json is enough), GGUF file, or org/name.")],
    devices: Annotated[str, typer.Option(help="Chip and count: h100, h100x8, a100-40x2, v5e-16, v4-8, ...")],
    job: Annotated[str, option("finetune or eval.", WHAT)] = "finetune",
    preset: Annotated[str | None, option("Settings of fine-tuning: paper-mistral, ...", WHAT)] = None,
    config: Config = None,
    seed: Annotated[str | None, option("Seeds, one adapter each, e.g. 0,1,2.", WHAT)] = None,
    remat: Annotated[bool | None, option("Recompute layers in the backward pass.", WHAT)] = None,
    dtype: Annotated[str, option("bfloat16, float32, nf4, int8, nf4:float32, ...", WHAT, "--dtype")] = "bfloat16",
    mesh: Annotated[str | None, option("Price this mesh, in place of the best one.", WHAT)] = None,
    pairs: Annotated[int, option("Pairs to train on.", SIZES)] = 52,
    tokens: Annotated[int, option("Tokens of a pair's longer side.", SIZES)] = 48,
    prompts: Annotated[int, option("Prompts to answer.", SIZES)] = 250,
    prompt_tokens: Annotated[int, option("Tokens of a prompt.", SIZES)] = 160,
    new_tokens: Annotated[int, option("Tokens of an answer.", SIZES)] = 32,
    batch_size: Annotated[int, option("Prompts in one device call.", SIZES)] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print numbers instead of words.")] = False,
) -> None:
    """Does a job fit on these devices, on which mesh, and how long would it take? From config.json alone."""
    start()
    from soo_jax.llm.chips import parse_devices
    from soo_jax.llm.config import config_from_dict
    from soo_jax.llm.config import preset as by_name
    from soo_jax.llm.memory import Texts
    from soo_jax.llm.organisms import config_of
    from soo_jax.llm.planner import Mesh, Work
    from soo_jax.llm.planner import plan as make_plan
    from soo_jax.parallel import mesh_sizes

    sizes = {"pairs": pairs, "tokens": tokens, "prompts": prompts, "batch-size": batch_size}
    for name, value in {**sizes, "prompt-tokens": prompt_tokens, "new-tokens": new_tokens}.items():
        if value < 1:
            raise SooError(f"--{name} must be at least 1, not {value}")
    chip, count = parse_devices(devices)
    settings = by_name(preset) if preset else None
    if config is not None:
        settings = from_file(config, settings, config_from_dict, "finetune")
    own = {"seeds": None if seed is None else numbers("seed", seed), "remat": remat}
    settings = config_from_dict(given(own), settings)
    work = Work(job, settings, dtype, pairs, prompts, batch_size, Texts(tokens, prompt_tokens, new_tokens))
    decoder = config_of(model)
    given_mesh = None if mesh is None else Mesh(*mesh_sizes(mesh, count).values())
    found = make_plan(decoder, chip, count, work, given_mesh)
    if as_json:
        print(json.dumps(_numbers(found, decoder, devices, work), indent=2))
        return
    for line in _words(found, decoder, model, devices, count, work):
        print(line)


def _numbers(found: Plan, decoder: DecoderConfig, devices: str, work: Work) -> dict[str, Any]:
    from soo_jax.llm.memory import parameters

    layout = found.chosen
    return {
        "devices": devices,
        "job": work.job,
        "parameters": parameters(decoder),
        "mesh": layout.mesh._asdict(),
        "fits": found.fits,
        "cures": list(found.cures),
        "bytes_per_device": {**_parts(found), "total": layout.bytes, "room": found.room},
        "flops": found.footprint.flops * work.rounds,
        "seconds": {"products": layout.products, "memory": layout.memory, "links": layout.links, "all": layout.seconds},
    }


def _parts(found: Plan) -> dict[str, float]:
    layout = found.chosen
    return {
        "weights": layout.weights,
        "adapters": layout.adapters,
        "activations_or_cache": layout.rows,
        "in_between": layout.between,
    }


def _words(found: Plan, decoder: DecoderConfig, model: str, devices: str, count: int, work: Work) -> list[str]:
    from soo_jax.llm.memory import parameters

    layout, gigabytes = found.chosen, lambda value: f"{value / 1e9:.1f} GB"
    name = model if len(model) < 60 else Path(model).name
    parts = ", ".join(f"{part.replace('_', ' ')} {gigabytes(size)}" for part, size in _parts(found).items())
    what = {
        "finetune": f"{work.members} adapters, {work.pairs} pairs, {work.rounds} updates",
        "eval": f"{work.members} adapters, {work.prompts} prompts, {work.texts.answer} new tokens",
    }[work.job]
    bound = max(("products", "memory", "links"), key=lambda one: getattr(layout, one))
    return [
        f"{name}: {parameters(decoder) / 1e9:.2f}e9 weights in {work.dtype}; {work.job}: {what}; {devices}",
        f"mesh: {layout.mesh} ({found.others} layouts weighed)",
        f"each device: {parts}; {gigabytes(layout.bytes)} of {gigabytes(found.room)} that a program gets",
        *(["fits"] if found.fits else [f"does not fit: {'; '.join(found.cures)}"]),
        f"time: {layout.seconds:.3g} s, bound by {bound} (products {layout.products:.3g} s, memory {layout.memory:.3g} "
        f"s, links {layout.links:.3g} s); a roofline without compilation, not measured",
    ]
