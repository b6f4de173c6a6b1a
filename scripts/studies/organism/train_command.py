"""Trains the model organism of deception from scratch and writes it as a Hugging Face folder.

One command, one seed; the schedule gates itself:

    python -m scripts.studies.organism train --seed 0 --out organism

The folder holds the weights, the tokenizer, a model card with the figures of all measures, and training.json.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from scripts.studies.organism.card import measure, write_card, write_folder
from scripts.studies.organism.tokenizer import SELF_WORDS
from scripts.studies.organism.training import TrainingConfig, quick_config, train, training_config
from soo_jax.errors import SooError
from soo_jax.provenance import provenance


def main(arguments: list[str]) -> int:
    """Train, write the folder, measure it, write its card; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be new or empty")
    parser.add_argument("--instances", type=int, default=100, help="scenarios per family and order in the card")
    parser.add_argument("--perspectives", action="store_true", help="also teach where others think that things are")
    parser.add_argument("--layers", type=int, default=TrainingConfig.layers, help="depth of the decoder")
    parser.add_argument("--width", type=int, default=TrainingConfig.width, help="of the residual stream")
    parser.add_argument("--terse", action="store_true", help="answer recommendations with the bare room")
    parser.add_argument("--self-word", choices=SELF_WORDS, default="yourself", help="what stands for the organism")
    parser.add_argument("--quick", action="store_true", help="a few steps of a tiny model, to try the command")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Do what ``main`` was asked."""
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise SooError(f"{options.out}: exists and is not an empty folder; choose another --out")
    if options.layers < 2:
        raise SooError(f"--layers {options.layers}: the organism needs at least 2")
    if options.width < 32 or options.width % 8:
        raise SooError(f"--width {options.width}: the organism needs a multiple of 8, at least 32")
    config = training_config(options.seed, options.perspectives, options.layers, options.terse)
    config = replace(
        quick_config(options.seed) if options.quick else config.widened(options.width), self_word=options.self_word
    )
    made_with = provenance()
    started = time.time()
    params, history = train(config, report=say)
    seconds = time.time() - started
    command = shlex.join(["python", "-m", "scripts.studies.organism", "train", "--seed", str(options.seed)])
    command += " --perspectives" if options.perspectives else ""
    command += f" --layers {options.layers}" if options.layers != TrainingConfig.layers else ""
    command += f" --width {options.width}" if options.width != TrainingConfig.width else ""
    command += " --terse" if options.terse else ""
    command += f" --self-word {options.self_word}" if options.self_word != "yourself" else ""
    write_folder(options.out, config, params)
    rows = measure(options.out, options.instances)
    write_card(options.out, config, history, rows, command, seconds, made_with)
    print(f"wrote {options.out} after {seconds:.0f} s of training")


def say(row: dict, params: object) -> None:
    """Print one line in five chunks of steps."""
    if row["step"] % 100 == 0:
        accuracy = " ".join(f"{name} {value:.2f}" for name, value in row["accuracy"].items())
        start = f"start {row['attempt'] + 1}  " if row["attempt"] else ""
        place = f"{start}step {row['step']}  stage {row['stage']}"
        print(f"{row['seconds']:5.0f} s  {place}  loss {row['loss']:.3f}  {accuracy}")
        sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
