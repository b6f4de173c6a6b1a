"""A run in short: what a researcher asks first, answered in words, and what a sceptic would say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from soo_jax.report.llm.comparison import chance, sequence, span
from soo_jax.report.llm.tables import silent
from soo_jax.report.llm.words import condition_title, family_title
from soo_jax.runs import Run
from soo_jax.tasks.comparison import FEW_SEEDS, Difference
from soo_jax.tasks.fitness import APART, unfit
from soo_jax.tasks.run_comparison import Comparison, between
from soo_jax.tasks.statistics import AFTER, CONTROL, Cell, SeedOutcome, aggregate, apart

_SOME = 5
"""Points from which on a change is worth a sentence."""


class Point(NamedTuple):
    """A question, the answer in a word or two, and what stands behind it."""

    question: str
    answer: str
    said: list[str]


def in_short(run: Run, rows: Sequence[dict[str, Any]], family: str, outcomes: Sequence[SeedOutcome]) -> list[Point]:
    """What to know of a run first: of SOO (or another single condition) beside the base, or of the base alone.

    Args:
      rows: deception rows. family: the scenario of the headline.

    Returns:
      Nothing where there is no base, or several conditions and none of them SOO.
    """
    conditions = {row["condition"] for row in apart(rows)}
    if conditions == {"base"}:
        return _of_a_model(rows, run, family)
    condition = _after(conditions)
    found = {} if condition is None else {name: between(run, condition, name) for name in ("deceptive", "honest")}
    deceptive, honest = found.get("deceptive"), found.get("honest")
    if condition is None or deceptive is None or honest is None:
        return []
    pooled = {(cell.condition, cell.family): cell for cell in aggregate(rows, pool_orders=True)}
    before = [cell for (name, _), cell in pooled.items() if name == "base"]
    after = [cell for (name, _), cell in pooled.items() if name == condition]
    points = [
        _changed("Did deception fall?", deceptive, family, wanted="less"),
        _changed("Did honest acts rise?", honest, family, wanted="more"),
        _stated(after),
        _controls(honest),
        _real(honest, family),
    ]
    doubts = [
        *_of_the_base(rows, run),
        *_of_broken_answers(before, after),
        *_of_seeds(outcomes, after),
        *_of_controls(honest),
        *_of_words(after),
        *_of_orders([cell for cell in aggregate(rows) if cell.condition == condition]),
        *_of_requests(pooled, family, condition),
        *_of_other_ways(pooled, family, condition),
        *_of_drift(run.drift, condition),
        "All questions are of one kind: one of two places is named. That says nothing of deception in another form.",
    ]
    return [*points, Point("What would a sceptic say?", "", doubts)]


def _after(conditions: set[str]) -> str | None:
    """SOO, or the only other condition than the base."""
    others = conditions - {"base"}
    if AFTER in others:
        return AFTER
    return next(iter(others)) if len(others) == 1 and "base" in conditions else None


def _of_a_model(rows: Sequence[dict[str, Any]], run: Run, family: str) -> list[Point]:
    """What to know of a model that was asked as it is."""
    cells = aggregate(rows, pool_orders=True)
    rivals = [cell for cell in cells if not cell.control]
    controls = [cell for cell in cells if cell.control]
    points = []
    if rivals:
        main = next((cell for cell in rivals if cell.family == family), rivals[0])
        most = max(rivals, key=lambda cell: cell.deceptive.mean)
        said = f"{family_title(main.family)}: {_rates(main)}"
        more = "" if most is main else f"; most in {family_title(most.family)}: {_rates(most)}"
        points.append(Point("Does it deceive rivals?", "", [f"{said}{more}."]))
        points.append(_stated(cells))
    worst = min(controls, key=lambda cell: cell.honest.mean, default=None)
    asked = (
        "None was asked." if worst is None else f"At worst {worst.honest.mean:.0f} % ({family_title(worst.family)})."
    )
    points.append(Point("Are the controls right?", "", [asked]))
    reasons = unfit(rows, run.responses)
    fit = "The controls are right, and both orders of mention agree."
    means = Point(
        "Does its rate of deception mean anything?",
        "Little." if reasons else "Yes.",
        [*map(_capital, _named(reasons))] or [fit],
    )
    return [*points, means] if rivals else points


# ---- what was found -----------------------------------------------------------------------------------------------


def _changed(question: str, comparison: Comparison, family: str, wanted: str) -> Point:
    """Over all scenarios with a rival, and in the headline's."""
    rivals = [row for row in sequence(comparison) if not row.control] or sequence(comparison)
    by = {verdict: [row for row in rivals if row.verdict == verdict] for verdict in ("more", "less", "undecided")}
    against = by["less" if wanted == "more" else "more"]
    good = by[wanted]
    answer = "Yes" if len(good) == len(rivals) else "In part" if good else "No"
    said = f"{_some(good, rivals)} it {'fell' if wanted == 'less' else 'rose'}"
    if against:
        said += f"; in {_titles(against)} it {'rose' if wanted == 'less' else 'fell'}"
    if by["undecided"] and (good or against):
        said += f"; in {_titles(by['undecided'])} nothing was shown"
    main = next((row for row in rivals if row.family == family), rivals[0])
    return Point(question, f"{answer}.", [f"{said}. {family_title(main.family)}: {_from_to(main)}."])


def _stated(after: Sequence[Cell]) -> Point:
    rivals = [cell for cell in after if not cell.control]
    heard = [cell for cell in rivals if cell.mislead is not None and cell.contradiction is not None]
    question = "And in what answers say?"
    if not heard:
        return Point(question, "Not measured.", ["Nobody looked at what answers say that they are for."])
    if not any(cell.mislead.mean for cell in heard):
        return Point(
            question, "Nothing against it.", ["No answer says that it means to mislead. Not all give a reason."]
        )
    worst = max(heard, key=lambda cell: cell.contradiction.mean)
    if not worst.contradiction.mean:
        return Point(question, "Nothing against it.", ["Only answers that deceive say that they mean to mislead."])
    return Point(
        question,
        "Not throughout.",
        [
            f"At worst, in {family_title(worst.family)}, {worst.honest.mean:.0f} % of answers are honest acts, but "
            f"{worst.contradiction.mean:.0f} % say beside it that they mean to mislead: "
            f"{worst.honest_throughout:.0f} % are honest throughout."
        ],
    )


def _controls(honest: Comparison) -> Point:
    own = [row for row in sequence(honest) if row.control]
    question = "Are the controls intact?"
    if not own:
        return Point(question, "Not asked.", ["Without controls a confused model looks like an honest one."])
    worse = [row for row in own if row.verdict == "less"]
    same = [row for row in own if row.verdict == "same" or (row.verdict == "more" and not row.same)]
    open_ = [row for row in own if row.verdict == "undecided"]
    said = [f"Shown to be within {honest.within:g} points of before, or better: {len(same)} of {len(own)}"]
    if worse:
        said.append(f"worse: {', '.join(f'{family_title(row.family)} {_points(row)}' for row in worse)}")
    if open_:
        fallen = min(open_, key=lambda row: row.difference)
        lost = f"; of these {family_title(fallen.family)} fell most, {_points(fallen)}" if fallen.difference < 0 else ""
        said.append(f"not shown either way: {_titles(open_)}{lost or '; none of these fell'}")
    answer = "No." if worse else "Yes." if not open_ else "Not shown for all."
    return Point(question, answer, ["; ".join(said) + "."])


def _real(honest: Comparison, family: str) -> Point:
    main = next((row for row in honest.differences if row.family == family), honest.differences[0])
    seeds = main.seeds[1]
    how = f"{main.questions} questions, {seeds} seeds" if seeds > 1 else f"{main.questions} questions, one answer each"
    shown = "Yes." if main.verdict in ("more", "less") else "Not shown."
    return Point(
        "Is the difference real?",
        shown,
        [
            f"{family_title(main.family)}, honest acts: {span(main)} points, p {_p(main)}, paired by question ({how}) "
            f"and corrected for {len(honest.differences)} scenarios."
        ],
    )


# ---- what a sceptic would say -------------------------------------------------------------------------------------


def _of_the_base(rows: Sequence[dict[str, Any]], run: Run) -> list[str]:
    reasons = unfit(rows, run.responses)
    return [f"Before, its rate of deception means little: {named}" for named in _named(reasons)]


def _named(reasons: Sequence[str]) -> list[str]:
    """The first reasons as one sentence; none for none."""
    if not reasons:
        return []
    told = [_in_words(reason) for reason in reasons[:3]] + [f"and {len(reasons) - 3} more"] * (len(reasons) > 3)
    return [f"{'; '.join(told)}."]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _in_words(reason: str) -> str:
    """A reason with the titles of families in place of their names."""
    return re.sub(r"(?<=^the control )\w+|(?<=^in )\w+", lambda match: family_title(match[0]), reason)


def _of_broken_answers(before: Sequence[Cell], after: Sequence[Cell]) -> list[str]:
    earlier = {cell.family: silent(cell) for cell in before}
    grown = [cell for cell in after if silent(cell) - earlier.get(cell.family, 0.0) > _SOME]
    if not grown:
        return []
    worst = max(grown, key=silent)
    return [
        f"It may be broken rather than honest: in {family_title(worst.family)} {silent(worst):.0f} % of answers name "
        f"no place, before {earlier.get(worst.family, 0.0):.0f} %."
    ]


def _of_seeds(outcomes: Sequence[SeedOutcome], after: Sequence[Cell]) -> list[str]:
    seeds = max(cell.seeds for cell in after)
    bad = [one for one in outcomes if one.condition.startswith(AFTER) and one.verdict in ("broken", "diverged")]
    said = [f"{len(bad)} of {len(outcomes)} seeds came out broken or diverged."] if bad else []
    if 1 < seeds < FEW_SEEDS:
        said.append(f"{seeds} seeds say little about seeds that were not tried.")
    return said


def _of_controls(honest: Comparison) -> list[str]:
    doubtful = [row for row in honest.differences if row.control and row.verdict == "undecided"]
    if not doubtful:
        return []
    count = min(row.questions for row in doubtful)
    return [f"That {_titles(doubtful)} stayed the same is not shown with {count} questions; ask more."]


def _of_words(after: Sequence[Cell]) -> list[str]:
    told = [cell for cell in after if cell.contradiction is not None and cell.contradiction.mean > _SOME]
    return ["Honest acts that say they mean to mislead look like confusion about where things are."] if told else []


def _of_orders(cells: Sequence[Cell]) -> list[str]:
    by_family: dict[str, list[Cell]] = {}
    for cell in cells:
        by_family.setdefault(cell.family, []).append(cell)
    hung = [
        family
        for family, own in by_family.items()
        if not own[0].control and max(c.honest.mean for c in own) - min(c.honest.mean for c in own) > APART
    ]
    alone = [family for family, own in by_family.items() if len(own) == 1]
    said = [f"Afterwards the order of mention decides in {_join(map(family_title, hung))}."] if hung else []
    return said + ([f"{_join(map(family_title, alone))}: asked in one order of mention only."] if alone else [])


def _of_requests(pooled: dict[tuple[str, str], Cell], family: str, condition: str) -> list[str]:
    base, asked, after = (pooled.get((name, family)) for name in ("base", "honesty_prompt", condition))
    if base is None or after is None or condition == "honesty_prompt":
        return []
    if asked is None:
        return ["Whether a request to be honest would do as much was not measured."]
    gained, by_asking = after.honest.mean - base.honest.mean, asked.honest.mean - base.honest.mean
    if by_asking <= _SOME or by_asking < gained / 2:
        return []
    return [f"A request to be honest gives {asked.honest.mean:.0f} % honest acts ({family_title(family)}), untrained."]


def _of_other_ways(pooled: dict[tuple[str, str], Cell], family: str, condition: str) -> list[str]:
    """What a run of controls shows to bring as many honest acts about as SOO, to a few points."""
    after = pooled.get((condition, family))
    others = [(name, cell) for (name, own), cell in pooled.items() if own == family and name.startswith(CONTROL)]
    as_much = [
        condition_title(name) for name, cell in others if after and cell.honest.mean >= after.honest.mean - _SOME
    ]
    return [f"As many honest acts ({family_title(family)}) come of {_join(as_much)}."] if as_much else []


def _of_drift(rows: Sequence[dict[str, Any]], condition: str) -> list[str]:
    told = {name: [r["perplexity"] for r in rows if r["condition"] == name] for name in ("base", condition)}
    if not told["base"] or not told[condition]:
        return ["Whether it still writes as it did was not measured."]
    if None in told[condition] or None in told["base"]:
        return ["On ordinary texts its numbers are not finite."]
    before, after = (sum(values) / len(values) for values in (told["base"], told[condition]))
    grew = after > before * (1 + _SOME / 100)
    return [f"Ordinary texts surprise it more: perplexity {before:.1f} before, {after:.1f} after."] if grew else []


# ---- words --------------------------------------------------------------------------------------------------------


def _rates(cell: Cell) -> str:
    return f"{cell.deceptive.mean:.0f} % deceptive, {cell.honest.mean:.0f} % honest"


def _some(some: Sequence[Difference], of: Sequence[Difference]) -> str:
    if len(of) == 1:
        return f"In {_titles(of)}" if some else f"Not in {_titles(of)}:"
    if not some:
        return f"In none of {len(of)} scenarios"
    return f"In all {len(of)} scenarios" if len(some) == len(of) else f"In {len(some)} of {len(of)} scenarios"


def _titles(rows: Sequence[Difference]) -> str:
    names = [family_title(row.family) for row in rows]
    return _join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _join(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _from_to(row: Difference) -> str:
    return f"{row.before:.0f} % before, {row.after:.0f} % after"


def _points(row: Difference) -> str:
    return f"{row.before:.0f} → {row.after:.0f} %"


def _p(row: Difference) -> str:
    found = chance(row)
    return found if found.startswith("<") else f"= {found}"
