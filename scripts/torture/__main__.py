"""Kills, damages and starves small runs, goes on with them, and says what was lost.

nice python -m scripts.torture --page docs/records/torture.md     # 56 kills, 29 other harms; half an hour on one core
python -m scripts.torture --kills 3 --case evaluation             # a part of it
python -m scripts.torture --page docs/records/torture.md --again --harm limited       # a part of the page again

Kills are spread evenly over the cases. Half of them come between two writes to files, at moments that the seed draws
and that are the same each time; half come after times that it draws, in which a machine does what it can.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from scripts.torture.cases import CASES, LEFT_OUT, Bench
from scripts.torture.harms import HARMS, Row, harms, kills
from soo_jax.files import write_atomically

_TITLE = "# What survives what: the record"


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="in all, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only these")
    parser.add_argument("--harm", action="append", choices=HARMS, help="only these")
    parser.add_argument("--page", type=Path, help="Markdown file to write; the moments go into a JSON file beside it")
    parser.add_argument("--again", action="store_true", help="keep the lines of the page that are not made again")
    options = parser.parse_args(arguments)
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    wanted = options.harm or HARMS
    rows: dict[tuple[str, str], Row] = {}
    if options.page and options.again:
        kept = json.loads(options.page.with_suffix(".json").read_text(encoding="utf-8"))
        rows = {(row["case"], row["harm"]): Row(**row) for row in kept}
    done: list[Row] = []

    def note(row: Row) -> None:
        done.append(row)
        rows[row.case, row.harm] = row
        print(_line(row), flush=True)
        if options.page:  # so far
            write_atomically(options.page, page(list(rows.values()), options.again))
            moments = json.dumps([asdict(row) for row in rows.values()], indent=1, ensure_ascii=False)
            write_atomically(options.page.with_suffix(".json"), moments + "\n")

    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        bench = Bench(Path(place))
        bench.prepare()
        for case in chosen if kills.__name__ in wanted else ():
            note(kills(bench, case, -(-options.kills // len(chosen)), options.seed))
        for case, harm in harms(bench):
            if case in chosen and harm.func.__name__ in wanted:
                note(harm())
    return int(any(row.lost for row in done))


def page(rows: list[Row], again: bool = False) -> str:
    """The record in Markdown.

    Args:
      again: some of its lines were made later than the others.
    """
    count = sum(row.times for row in rows if row.moments)
    bad = sum(bool(row.lost) for row in rows)
    verdict = f"something was lost in {bad} of {len(rows)} lines" if bad else "nothing was lost"
    lines = [
        _TITLE,
        "",
        f"Written by `python -m scripts.torture --page docs/records/torture.md` on a CPU: {count} kills (SIGKILL) and "
        f"{sum(row.times for row in rows if not row.moments)} other harms; {verdict}. "
        "The moments of the kills are in the JSON file beside this page."
        + (" Some lines were made again after a mend, with `--again`." if again else ""),
        "",
        "Lost is whatever differs, in any bit, from a run that nobody disturbed: all files of the run but "
        f"{', '.join(f'`{name}`' for name in LEFT_OUT)}, timings in `results.json` and versions in `config.json`, "
        "and but for the order in which headers of safetensors files say things; and whatever lies about that does not "
        "belong there.",
        "",
        "| run | what was done to it | times | what it said | lost |",
        "|---|---|---|---|---|",
        *map(_line, rows),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    lost = "; ".join(row.lost).replace("|", "/").replace("\n", " ") or "nothing"
    return f"| {row.case} | {row.harm} | {row.times} | {row.said} | {lost} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
