"""Puts the tables and charts of a study into docs/records/organism.md.

    python -m scripts.studies.organism docs runs/study --controls t_s0

Tables stand between ``<!-- study: TITLE -->`` and ``<!-- /study -->``, where TITLE is a heading of study.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from scripts.studies.organism.report import by_name, sections
from scripts.studies.organism.run import earlier
from soo_jax.errors import SooError
from soo_jax.files import write_atomically

DOCS = Path(__file__).parents[3] / "docs"
TABLE = re.compile(r"(<!-- study: (?P<title>[^>]+) -->\n).*?(<!-- /study -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Rewrites the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--controls", required=True, help="the organism whose controls are charted")
    parser.add_argument("--page", type=Path, default=DOCS / "records" / "organism.md", help="the page to rewrite")
    options = parser.parse_args(arguments)
    try:
        organisms = by_name({"organisms": earlier(options.study)})
        if not organisms:
            raise SooError(f"{options.study}: holds no study.json; make the study first")
        having = [name for name, found in organisms.items() if "controls" in found]
        if options.controls not in having:
            raise SooError(f"--controls {options.controls}: has none in this study; choose from {', '.join(having)}")
        page = options.page.read_text(encoding="utf-8")
        charts = {
            f"organism_{name}.png": (options.study / f"organism_{source}.png").read_bytes()
            for name, source in (("layers",) * 2, ("rates",) * 2, ("controls", f"controls_{options.controls}"))
        }
        write_atomically(options.page, filled(page, sections(organisms)))
        for name, chart in charts.items():
            write_atomically(options.page.parents[1] / "img" / name, chart)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{error.filename}: {error.strerror}; make the study again, or choose another --page",
            file=sys.stderr,
        )
        return 2
    return 0


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with every marked table replaced. Raises SooError for a title that the study does not have."""

    def table(found: re.Match) -> str:
        if found["title"] not in tables:
            raise SooError(f"study: has no table {found['title']!r}; choose from {', '.join(tables)}")
        return f"{found[1]}{tables[found['title']]}\n{found[3]}"

    return TABLE.sub(table, page)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
