"""Tells which side SOO moved in an organism's scenes: the other one towards the self side, or the self side away.

    soo finetune y_s0 --preset organism --layer 2 --adapter-layers all --learning-rate 2.73e-4 --seed 0,1,2 --out run
    python -m scripts.studies.organism moved y_s0 run

One line per layer: shares of the way from other to self, a number per seed (`soo_jax.llm.diagnose.moved`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import soo_jax as soo
from scripts.studies.organism.predictors import twins
from scripts.studies.organism.run import says_something_first
from soo_jax.errors import SooError
from soo_jax.llm.diagnose import moved
from soo_jax.llm.folders import load_adapters
from soo_jax.tasks.organism.pairs import DECISION


def main(arguments: list[str]) -> int:
    """Print the shares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an organism, or organism")
    parser.add_argument("adapter", type=Path, help="run folder of soo finetune, or one adapter in it")
    options = parser.parse_args(arguments)
    try:
        lm = soo.load(options.model)
        adapters = load_adapters(lm, [options.adapter]).lora
        scenes = twins(lm, "validation", 100, DECISION if says_something_first(lm, 20) else "")
        for layer in range(lm.config.num_layers):
            sides = moved(lm, adapters, scenes, layer)
            shown = (f"{side} {' '.join(f'{share:.2f}' for share in sides[side])}" for side in ("other", "self"))
            print(f"layer {layer}: {'; '.join(shown)}")
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
