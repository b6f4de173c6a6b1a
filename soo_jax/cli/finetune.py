"""``soo finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from soo_jax.cli.common import (
    RUN,
    Config,
    Dtype,
    Force,
    Log,
    MeshText,
    Model,
    Out,
    Quiet,
    Resume,
    Tasks,
    bars,
    check_out,
    finish,
    from_file,
    given,
    mesh_of,
    numbers,
    one_or_more,
    option,
    start,
    trackers,
)
from soo_jax.errors import SooError

TEXTS, LOSS, OPTIMISER, ADAPTER = "Texts", "What is brought together", "How it is optimised", "The adapter"


def finetune(
    model: Model,
    out: Out,
    preset: Annotated[str | None, option("organism, paper-mistral, paper-gemma2, ...", RUN)] = None,
    config: Config = None,
    seed: Annotated[str | None, option("Seeds, one adapter each, e.g. 0,1,2.", RUN)] = None,
    pairs: Annotated[Path | None, option("Your own pairs (JSON lines), or: scenes.", TEXTS)] = None,
    texts: Annotated[Path | None, option("Ordinary texts for terms that keep ability.", TEXTS)] = None,
    tasks: Tasks = None,
    extended: Annotated[bool | None, option("Built-in pairs up to the decision.", TEXTS)] = None,
    chat: Annotated[bool | None, option("Pairs as chat messages.", TEXTS)] = None,
    lead: Annotated[str | None, option("What pairs go on with: the start of an answer.", TEXTS)] = None,
    pair_check: Annotated[bool, option("First answer the pairs, and say how many show a difference.", TEXTS)] = True,
    site: Annotated[str | None, option("attn_out, mlp_out, residual or logits.", LOSS)] = None,
    layer: Annotated[str | None, option("Layer or layers, e.g. 16 or 14,15,16.", LOSS)] = None,
    layers_from: Annotated[Path | None, option("The layers that a run of soo layers advises.", LOSS)] = None,
    tokens: Annotated[str | None, option("last, mean or all.", LOSS)] = None,
    distance: Annotated[str | None, option("mse, normalised_mse, cosine, kl, ...", LOSS)] = None,
    direction: Annotated[str | None, option("both, other_to_self, self_to_other or anchored.", LOSS)] = None,
    overlap_weight: Annotated[float | None, option("Weight of the overlap term.", LOSS)] = None,
    retain: Annotated[float | None, option("Weight of the KL to the base model on --texts.", LOSS)] = None,
    term: Annotated[list[str] | None, option("Your own term, file.py:name[=weight].", LOSS)] = None,
    learning_rate: Annotated[str | None, option("One rate, or several to sweep.", OPTIMISER)] = None,
    epochs: Annotated[int | None, option("Passes over the pairs.", OPTIMISER)] = None,
    batch_size: Annotated[int | None, option("Pairs in a micro-batch.", OPTIMISER)] = None,
    accumulation: Annotated[int | None, option("Micro-batches in an update.", OPTIMISER)] = None,
    remat: Annotated[bool | None, option("Recompute layers in the backward pass.", OPTIMISER)] = None,
    checkpoint_every: Annotated[int | None, option("Updates between checkpoints.", OPTIMISER)] = None,
    rank: Annotated[int | None, option("LoRA rank.", ADAPTER)] = None,
    alpha: Annotated[float | None, option("LoRA alpha.", ADAPTER)] = None,
    dropout: Annotated[float | None, option("LoRA dropout.", ADAPTER)] = None,
    targets: Annotated[str | None, option("Adapted projections, e.g. q,v.", ADAPTER)] = None,
    adapter_layers: Annotated[str | None, option("Adapted layers, or all (default).", ADAPTER)] = None,
    rslora: Annotated[bool | None, option("Rank-stabilised scaling.", ADAPTER)] = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """SOO fine-tuning: one adapter per seed, all in one program."""
    begun: dict[str, Any] = {}
    if resume:
        begun = _interrupted_run(out)
    else:
        check_out(out, force)
    if layers_from is not None and (layer is not None or adapter_layers is not None):
        raise SooError("layers-from: names the layers already; leave out --layer and --adapter-layers")
    sent_to = trackers(log)
    soo = start()
    from soo_jax.jobs.language import run_finetune
    from soo_jax.jobs.layers import advised_by
    from soo_jax.llm.config import config_from_dict
    from soo_jax.llm.config import preset as by_name

    lora = given(
        {
            "rank": rank,
            "alpha": alpha,
            "dropout": dropout,
            "targets": None if targets is None else targets.split(","),
            "rslora": rslora,
        }
    )
    if adapter_layers is not None:
        lora["layers"] = None if adapter_layers == "all" else list(numbers("adapter-layers", adapter_layers))
    read, looked_into = None if layer is None else one_or_more(numbers("layer", layer)), None
    if layers_from is not None:
        advised, looked_into = advised_by(layers_from)
        read, lora["layers"] = one_or_more(advised), list(advised)
    own = {
        "site": site,
        "layer": read,
        "tokens": tokens,
        "distance": distance,
        "direction": direction,
        "retain": retain,
        "terms": term,
        "overlap_weight": overlap_weight,
        "learning_rate": None if learning_rate is None else one_or_more(numbers("learning-rate", learning_rate, float)),
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "lora": lora or None,
        "extended": extended,
        "chat": chat,
        "lead": lead,
        "remat": remat,
        "checkpoint_every": checkpoint_every,
        "seeds": None if seed is None else numbers("seed", seed),
    }
    settings = by_name(preset) if preset else None
    if config is None and preset is None and "finetune" in begun:
        config = out / "config.json"  # a run is resumed with the settings that it was begun with
        told = begun.get("settings", {})
        again = lambda name, value: value or (Path(told[name]) if told.get(name) else None)
        pairs, texts, tasks = again("pairs", pairs), again("texts", texts), again("tasks", tasks)
        dtype = told.get("dtype", dtype) if dtype == "auto" else dtype
    if config is not None:
        settings = from_file(config, settings, config_from_dict, "finetune")
    settings = config_from_dict(given(own), settings)
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype, settings))
    if looked_into not in (None, lm.fingerprint):
        raise SooError(f"layers-from {layers_from}: looked into another model than {model}; run soo layers on this one")
    told = {"model": model, "dtype": dtype, "mesh": mesh, "preset": preset}
    with bars(quiet) as reporter:
        run_finetune(
            lm,
            settings,
            out,
            pairs_file=pairs,
            texts_file=texts,
            tasks=tasks,
            check_pairs=pair_check,
            resume=resume,
            force=force,
            log=sent_to,
            settings=told | {"pairs": pairs, "texts": texts, "tasks": tasks, "layers_from": layers_from},
            reporter=reporter,
        )
    finish(out)


def _interrupted_run(out: Path) -> dict[str, Any]:
    """What the config of an incomplete run says; refuses any other folder before anything slow begins."""
    from soo_jax.runs import read_run

    run = read_run(out)
    if run.complete:
        raise SooError(f"{out}: this run is complete, there is nothing to resume; choose another folder or --force")
    if run.config and run.config.get("job") != "finetune":
        raise SooError(f"{out}: is a run of another command ({run.config.get('job')}); resume it with that one")
    return run.config
