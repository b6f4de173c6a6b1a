"""Fetches small pretrained models into the user's cache.

python scripts/fetch_models.py smollm2 qwen05
"""

from __future__ import annotations

import argparse
import sys

from soo_jax.errors import SooError
from soo_jax.models.pretrained import MODELS, fetch


def main(arguments: list[str]) -> int:
    """Fetches what is named and prints the paths; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told = ", ".join(f"{name} ({model.megabytes} MB)" for name, model in MODELS.items())
    parser.add_argument("names", nargs="+", metavar="NAME", help=told)
    try:
        for name in parser.parse_args(arguments).names:
            print(fetch(name, lambda line: print(line, file=sys.stderr, flush=True)))
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
