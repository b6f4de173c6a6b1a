"""Which organisms does SOO make honest, at which layer, and would anything else do the same?

    python -m scripts.studies.organism study t_s0 t_s1 --close t_s0 --out runs/study

Every part is kept once it is known: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import soo_jax as soo
from scripts.studies.organism.report import write_study
from scripts.studies.organism.run import PARTS, study
from scripts.studies.organism.sweep import QUICK, Scale
from soo_jax.errors import SooError


def main(arguments: list[str]) -> int:
    """Run the study and draw its report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["organism"], help="folders of organisms, or organism")
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="folder to write, or to go on with")
    parser.add_argument("--close", action="append", default=[], help="name of a model that also gets the parts below")
    parser.add_argument("--part", action="append", default=[], help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--plain", action="store_true", help="leave out the slow trials with the self side held")
    parser.add_argument("--quiet", action="store_true", help="no lines about parts that are done")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything: a smoke test")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Do what ``main`` was asked."""
    if options.out.exists() and not options.out.is_dir():
        raise SooError(f"{options.out}: is a file where a folder is needed; choose another name")
    loaded = {}
    for model in options.models:
        lm = soo.load(model)
        if lm.name in loaded:
            raise SooError(f"{model}: there is already an organism named {lm.name}; rename one of the folders")
        loaded[lm.name] = lm
    say = (lambda line: None) if options.quiet else (lambda line: print(line, file=sys.stderr))
    scale = QUICK if options.quick else Scale()
    scale = replace(scale, held_layers=0) if options.plain else scale
    found = study(loaded, options.out, scale, tuple(options.close), tuple(options.part or PARTS), say)
    for path in write_study(found, options.out):
        print(path)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
