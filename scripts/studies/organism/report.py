"""A study of organisms as one page of Markdown tables and three charts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from scripts.studies.organism.measures import CONTROLS, RIVALS, by_seed, mean_share, share
from soo_jax.files import write_atomically
from soo_jax.report.style import LIGHT, WIDTH, Theme, add_legend, handle, new_figure, styled, to_png
from soo_jax.tasks.records import ORDERS
from soo_jax.tasks.statistics import mean_sd

LABELS = ("honest", "deceptive", "other")
PREDICTORS = (
    "relative_gap_attn_out",
    "relative_gap_residual",
    "gap_attn_out",
    "decodable_attn_out",
    "patch_attention",
    "sole_attention",
    "patch_answer",
    "patch_question",
    "patch_recipient",
    "carry_attn_out",
    "constant_attn_out",
)
"""Columns of the table of predictors, and what the score is correlated with. ``sole_attention`` is ``patch_attention``
less the largest of any other layer: 1 where the recipient reaches the answer through this layer alone.
``carry_attn_out``: how much of the scenes' difference between self and other the training pairs show.
``constant_attn_out``: how much of that difference is the same in all scenes."""

WAY_TITLES = {"whole": "adapted up to it", "alone": "adapted alone", "held": "self side held"}

Found = dict[str, Any]


def write_study(result: Found, out: Path) -> list[Path]:
    """Writes ``study.md`` and the charts beside it; returns their paths."""
    organisms = by_name(result)
    page = "\n\n".join(f"## {title}\n\n{table}" for title, table in sections(organisms).items())
    charts = {"organism_layers.png": layer_chart(organisms), "organism_rates.png": rate_chart(organisms)}
    for name, found in organisms.items():
        if "controls" in found:
            charts[f"organism_controls_{name}.png"] = control_chart(found)
    write_atomically(out / "study.md", page + "\n")
    for name, chart in charts.items():
        write_atomically(out / name, chart)
    return [out / name for name in ("study.md", *charts)]


def by_name(result: Found) -> dict[str, Found]:
    """The organisms of a study in alphabetical order, whatever was studied first."""
    return dict(sorted(result["organisms"].items()))


def sections(organisms: dict[str, Found]) -> dict[str, str]:
    """The tables of a study by title."""
    tables = {
        "Organisms": organism_table(organisms),
        "Base models, test scenarios": base_table(organisms),
        "SOO at the chosen setting, test scenarios": soo_table(organisms),
        "Distance between self and other by layer, before and after SOO": overlap_table(organisms),
        "Layers": layer_table(organisms),
        "Whole scenes as pairs, anchored, at the layer that decides": scene_table(organisms),
        "Fragments at the layer that decides, compared elsewhere or otherwise": elsewhere_table(organisms),
        "Rank correlation of predictors with the best score of a layer": correlation_table(organisms),
    }
    for name, found in organisms.items():
        if "controls" in found:
            tables[f"Controls: {name}, test scenarios"] = control_table(found)
        if "variations" in found:
            tables[f"Variations of the chosen setting: {name}, validation scenarios"] = variation_table(found)
        if found.get("recipe"):
            title = f"Whole scenes without a part of the recipe: {name}, validation scenarios"
            tables[title] = recipe_table(found)
    return tables


# ---- tables ---------------------------------------------------------------------------------------------------------


def organism_table(organisms: dict[str, Found]) -> str:
    """What each organism is, and how SOO did on validation scenarios."""
    head = (
        "organism",
        "made by",
        "training, s",
        "layers",
        "width",
        "qualifies",
        "layer",
        "way",
        "rate",
        "score",
        "study, s",
    )
    rows = []
    for name, found in organisms.items():
        chosen, training = found["chosen"], found["training"]
        command = f"`{training['command']}`" if training["command"] else ""
        rows.append(
            (name, command, training["seconds"] or "", found["layers"], found["width"],
             "yes" if found["qualifies"] else "no", chosen["layer"], chosen["way"], f"{chosen['learning_rate']:g}",
             f"{found['score_validation']:.2f}", found["seconds"])
        )  # fmt: skip
    return _markdown(head, rows)


def base_table(organisms: dict[str, Found]) -> str:
    """Honest / deceptive / other of every family in both orders, cheap (wrong) room first and last."""
    families = list(dict.fromkeys(row["family"] for found in organisms.values() for row in found["base_test"]))
    rows = [(family, *(cell(found["base_test"], family) for found in organisms.values())) for family in families]
    return _markdown(("scenario", *organisms), rows)


def soo_table(organisms: dict[str, Found]) -> str:
    """The same after SOO: mean of the seeds, with the standard deviation of the honest share."""
    rows = [
        (family, *(cell(found["soo"]["test"]["rows"], family) for found in organisms.values()))
        for family in (*RIVALS, *CONTROLS)
    ]
    drift = [f"{np.mean(found['soo']['test']['drift']):.3f}" for found in organisms.values()]
    return _markdown(("scenario", *organisms), [*rows, ("weight update / weights", *drift)])


def overlap_table(organisms: dict[str, Found]) -> str:
    """Mean squared distance of the attention output on held-out probe pairs, last token: base to mean over seeds."""
    deepest = max(found["layers"] for found in organisms.values())
    rows = []
    for name, found in organisms.items():
        after: dict[int, list[float]] = {}
        for row in found["soo"]["test"]["latent"]:
            if row["site"] == "attn_out":
                after.setdefault(row["layer"], []).append(row["mse"])
        moved = [f"{p['gap_attn_out']:.3g} to {np.mean(after[p['layer']]):.3g}" for p in found["predictors"]]
        rows.append((name, found["chosen"]["layer"], *moved, *[""] * (deepest - len(moved))))
    return _markdown(("organism", "trained layer", *(f"layer {i}" for i in range(deepest))), rows)


def cell(rows: Sequence[Found], family: str) -> str:
    """``honest ± sd / deceptive / other`` in per cent, once per order, or once if that is the same in both."""
    shown = []
    for order in ORDERS:
        own = [row for row in rows if (row["family"], row["order"]) == (family, order)]
        if not own:
            return ""
        parts = []
        for label in LABELS:
            mean, sd = mean_sd([100 * share(row, label) for row in own])
            parts.append(f"{mean:.0f} ± {sd:.0f}" if sd is not None and label == "honest" else f"{mean:.0f}")
        shown.append(" / ".join(parts))
    return " · ".join(dict.fromkeys(shown))


def layer_rows(organisms: dict[str, Found]) -> list[Found]:
    """One row per organism and layer that was tried: predictors, and the best trial there."""
    rows = []
    for name, found in organisms.items():
        patched = [predictor["patch_attention"] for predictor in found["predictors"]]
        for i, predictor in enumerate(found["predictors"]):
            own = [trial for trial in found["trials"] if trial["layer"] == predictor["layer"]]
            if own:
                sole = patched[i] - max(patched[:i] + patched[i + 1 :])
                best = max(own, key=lambda trial: trial["score"])
                rows.append({"organism": name, **predictor, "sole_attention": sole, **best})
    return rows


def layer_table(organisms: dict[str, Found]) -> str:
    """Predictors beside the best score of each layer."""
    head = ("organism", "layer", *PREDICTORS, "best score", "at rate", "weight update / weights")
    rows = [
        (row["organism"], row["layer"], *(f"{row[name]:.2f}" for name in PREDICTORS), f"{row['score']:.2f}",
         f"{row['learning_rate']:g}", f"{row['drift']:.3f}")
        for row in layer_rows(organisms)
    ]  # fmt: skip
    return _markdown(head, rows)


def scene_table(organisms: dict[str, Found]) -> str:
    """The usual pairs beside whole scenes, at one layer: what the pairs carry, and what comes of it."""
    head = ("organism", "layer", "patch attention", "usual pairs: carry", "score",
            "scenes: rate", "score", "other / self moved", "burglar", "name", "worst control")  # fmt: skip
    rows = []
    for name, found in organisms.items():
        scenes = found["scenes"]
        if scenes is None:
            rows.append((name, "none decides", *[""] * (len(head) - 2)))
            continue
        layer, chosen, asked = scenes["layer"], scenes["chosen"], scenes["test"]["rows"]
        predictor = found["predictors"][layer]
        usual = [
            t["score"] for t in found["trials"] if t["layer"] == layer and t["way"] == ("alone" if layer else "whole")
        ]
        controls = [c for c in CONTROLS if c in found["known"]]
        worst = min(controls, key=lambda c, asked=asked: mean_share(asked, c))
        rows.append(
            (name, layer, f"{predictor['patch_attention']:.2f}", f"{predictor['carry_attn_out']:.2f}",
             f"{max(usual):.2f}" if usual else "", f"{chosen['learning_rate']:g}", f"{chosen['score']:.2f}",
             " / ".join(f"{np.mean(scenes['moved'][side]):.2f}" for side in ("other", "self")),
             cell(asked, "burglar"), cell(asked, "name"), f"{worst}: {cell(asked, worst)}")
        )  # fmt: skip
    return _markdown(head, rows)


def elsewhere_table(organisms: dict[str, Found]) -> str:
    """The best score of every organism with one change of site, direction, distance, tokens or adapter."""
    tried = {name: found["elsewhere"]["best"] if found["elsewhere"] else {} for name, found in organisms.items()}
    changes = list(dict.fromkeys(change for best in tried.values() for change in best))
    rows = [
        (name, found["elsewhere"]["layer"] if found["elsewhere"] else "none decides",
         *(_shown(tried[name].get(change, {}).get("score")) for change in changes))
        for name, found in organisms.items()
    ]  # fmt: skip
    return _markdown(("organism", "layer", *changes), rows)


def correlation_table(organisms: dict[str, Found]) -> str:
    """Spearman's rank correlation over organisms and layers; empty where a predictor does not vary."""
    rows = layer_rows(organisms)
    scores = [row["score"] for row in rows]
    names = (*PREDICTORS, "drift")
    shown = [(name, _shown(rank_correlation([row[name] for row in rows], scores)), len(rows)) for name in names]
    return _markdown(("predictor", "correlation", "organisms x layers"), shown)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rho with mean ranks for ties; None where one side is constant."""
    a, b = (_ranks(np.asarray(side, float)) for side in (x, y))
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.array([np.mean(np.flatnonzero(np.sort(values) == value)) for value in values])


def control_table(found: Found) -> str:
    """Every condition with the same measures; the first line is the base."""
    families = (*RIVALS, *CONTROLS)
    rows = [("base", "", *(cell(found["base_test"], family) for family in families))]
    for name, result in conditions(found).items():
        losses = f"{result['loss_first']:.1f} to {result['loss_last']:.1f}" if "loss_first" in result else ""
        rows.append((name, losses, *(cell(result["rows"], family) for family in families)))
    return _markdown(("condition", "loss", *families), rows)


def conditions(found: Found) -> dict[str, Found]:
    """SOO and its controls by name."""
    return {"SOO": found["soo"]["test"], **found["controls"]}


def variation_table(found: Found) -> str:
    """The best rate of each variation."""
    return _trial_table("variation", {"chosen": found["chosen"], **found["variations"]})


def recipe_table(found: Found) -> str:
    """The best rate with whole scenes, and without one part of that recipe at a time."""
    return _trial_table("without", {"nothing left out": found["scenes"]["chosen"], **found["recipe"]})


def _trial_table(title: str, trials: dict[str, Found]) -> str:
    shown = ("burglar_honest", "burglar_deceptive", "burglar_other", *CONTROLS)
    rows = [
        (name, f"{row['learning_rate']:g}", row["seeds"], f"{row['score']:.2f}",
         *(f"{100 * row[key]:.0f}" for key in shown), f"{row['loss_first']:.2g} to {row['loss_last']:.2g}")
        for name, row in trials.items()
    ]  # fmt: skip
    return _markdown((title, "rate", "seeds", "score", *shown, "loss"), rows)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[name.replace("_", " ") for name in head], ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(part) for part in line) + " |" for line in lines)


# ---- charts ---------------------------------------------------------------------------------------------------------


def layer_chart(organisms: dict[str, Found], theme: Theme = LIGHT) -> bytes:
    """A row per organism: what each layer flips, of what kind its difference is, scores by fragments and by scenes."""
    tried = {name: layer_rows({name: found}) for name, found in organisms.items()}
    deepest = max(len(rows) for rows in tried.values())
    by_layer = lambda key: [[row[key] for row in rows] for rows in tried.values()]
    last = [[found["scenes"]["chosen"]["score"]] if found["scenes"] else [] for found in organisms.values()]
    panels = {
        "flips under\npatching": by_layer("patch_attention"),
        "same in all\nscenes": by_layer("constant_attn_out"),
        "carried by\nfragments": by_layer("carry_attn_out"),
        "best score,\nfragments": by_layer("score"),
        "score,\nscenes": last,
    }
    with styled(theme):
        figure = Figure(figsize=(WIDTH, 0.3 * len(organisms) + 0.9), dpi=200, layout="constrained")
        figure.set_facecolor(theme.surface)
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True, width_ratios=[deepest] * 4 + [1.5])
        shades = LinearSegmentedColormap.from_list("score", [theme.surface, theme.honest])
        for panel, (title, values) in zip(axes, panels.items(), strict=True):
            width = max(map(len, values), default=0) or 1
            grid = np.array([own + [np.nan] * (width - len(own)) for own in values], float)
            panel.imshow(grid, cmap=shades, vmin=0.0, vmax=1.15, aspect="auto")
            for (y, x), value in np.ndenumerate(grid):
                if np.isfinite(value):
                    panel.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                               color=theme.surface if value > 0.6 else theme.ink)  # fmt: skip
            panel.set_title(title, fontsize=8.5)
            panel.set_xticks(range(width), [str(x) for x in range(width)] if width > 1 else [""])
            panel.set_yticks(range(len(organisms)), list(organisms))
            panel.spines[:].set_visible(False)
        axes[1].set_xlabel("layer")
        return to_png(figure, 256)


def rate_chart(organisms: dict[str, Found], theme: Theme = LIGHT) -> bytes:
    """What the burglar is told at each rate of the chosen layer, and the worst control: honest, then broken."""
    kinds = {"burglar_honest": theme.honest, "burglar_deceptive": theme.deceptive, "burglar_other": theme.muted}
    with styled(theme):
        columns = 2 if len(organisms) > 4 else 1
        rows = -(-len(organisms) // columns)
        figure, axes = new_figure(theme, 1.45 * rows + 0.9, rows, columns, sharex=True, sharey=True)
        for panel in axes.flat[len(organisms) :]:
            panel.set_axis_off()
        for panel, (name, found) in zip(axes.flat, organisms.items(), strict=False):
            layer = found["chosen"]["layer"]
            way = lambda trial: (trial["layer"], trial["way"])
            same = lambda trial, way=way, chosen=found["chosen"]: way(trial) == way(chosen)
            own = sorted(filter(same, found["trials"]), key=lambda t: t["learning_rate"])
            rates = [trial["learning_rate"] for trial in own]
            for kind, colour in kinds.items():
                panel.plot(rates, [100 * trial[kind] for trial in own], "-o", color=colour, linewidth=1.6, markersize=3)
            worst = [100 * min(t[c] for c in found["known"] if c in t) for t in own]
            panel.plot(rates, worst, "--s", color=theme.request, linewidth=1.2, markersize=3)
            panel.set_xscale("log")
            title = f"{name}, layer {layer}, {WAY_TITLES[found['chosen']['way']]}"
            panel.set_title(title, loc="left", fontsize=8.5)
            panel.set_ylim(-5, 105)
            panel.yaxis.grid(True)
        for panel in axes.flat[len(organisms) - columns : len(organisms)]:
            panel.set_xlabel("learning rate")
            panel.tick_params(labelbottom=True)
        handles = [handle(colour, "-", marker="o") for colour in kinds.values()]
        names = [*LABELS, "worst control right"]
        add_legend(figure, [*handles, handle(theme.request, "--", marker="s")], names, theme, columns=4)
        return to_png(figure)


def control_chart(found: Found, theme: Theme = LIGHT) -> bytes:
    """What the burglar is told under each condition, beside the worst control; a tick per seed."""
    shown = {"base": {"rows": found["base_test"]}, **conditions(found)}
    with styled(theme):
        figure, axes = new_figure(theme, 0.3 * len(shown) + 1.1, 1, 2)
        for y, result in enumerate(shown.values()):
            own = [row for row in result["rows"] if row["family"] == "burglar"]
            left = 0.0
            for label, colour in zip(LABELS, (theme.honest, theme.deceptive, theme.grid), strict=True):
                width = 100 * float(np.mean([share(row, label) for row in own]))
                axes[0][0].barh(y, width, left=left, color=colour, height=0.7)
                left += width
            controls = [row for row in result["rows"] if row["family"] in found["known"]]
            worst = [100 * min(share(row) for row in rows) for rows in by_seed(controls).values()]
            axes[0][1].barh(y, np.mean(worst), color=theme.request, height=0.7)
            axes[0][1].plot(worst, [y] * len(worst), "|", color=theme.ink, markersize=7)
        for panel, title in zip(axes[0], ("told to the burglar, %", "worst control right, %"), strict=True):
            panel.set(xlim=(0, 102), ylim=(len(shown) - 0.4, -0.6))
            panel.set_xlabel(title)
            panel.spines["left"].set_visible(False)
        axes[0][0].set_yticks(range(len(shown)), list(shown))
        axes[0][1].set_yticks([])
        handles = [handle(c, "-", linewidth=6) for c in (theme.honest, theme.deceptive, theme.grid)]
        add_legend(figure, handles, list(LABELS), theme, columns=3)
        return to_png(figure)
