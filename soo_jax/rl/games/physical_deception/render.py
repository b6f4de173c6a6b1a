"""Pictures of recorded episodes of Physical Deception: PNG strips and GIFs, several conditions side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from soo_envs import PhysicalDeceptionParams

from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.rl.games.physical_deception.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, FLOOR, WALL, SURFACE = "#1c2530", "#6b7683", "#f4f6f8", "#c3cad2", "#ffffff"
RED, BLUE, GOAL, TRAP = "#d5361f", "#0072b2", "#009e73", "#7a5195"
TRAIL = 15
"""Steps that a trail reaches back in an animation."""


class Episode(NamedTuple):
    """One episode as numpy arrays; see ``Trajectory``."""

    red: np.ndarray
    blue: np.ndarray
    goal: np.ndarray
    fake: np.ndarray
    trapped: np.ndarray
    rewards: dict[str, np.ndarray]


def episode_of(trajectory: Trajectory, episode: int = 0) -> Episode:
    """One episode of a trajectory ``[B, ...]``; a trajectory without leading axes is the episode itself.

    Raises:
      SooError: there is no such episode.
    """
    positions = np.asarray(trajectory.positions)
    if positions.ndim == 3:
        trajectory, positions = jax.tree.map(lambda x: x[None], trajectory), positions[None]
    if positions.ndim != 4:
        raise SooError(f"a picture shows one agent; positions must be [B, T + 1, 2, 2], found {positions.shape}")
    if not 0 <= episode < len(positions):
        raise SooError(f"episode must be 0 to {len(positions) - 1}, found {episode}")
    landmarks, goal = np.asarray(trajectory.landmarks[episode]), int(trajectory.goal[episode])
    return Episode(
        red=positions[episode, :, 0],
        blue=positions[episode, :, 1],
        goal=landmarks[goal],
        fake=landmarks[1 - goal],
        trapped=np.asarray(trajectory.trapped[episode]),
        rewards={who: np.asarray(x[episode]) for who, x in trajectory.rewards.items()},
    )


def strip(
    trajectory: Trajectory,
    path: str | Path,
    episode: int = 0,
    frames: int = 6,
    params: PhysicalDeceptionParams | None = None,
    title: str = "",
) -> Path:
    """Draws ``frames`` moments of an episode from left to right, with the trails that led there, as PNG.

    Args:
      trajectory: ``[B, ...]``. params: the world it was recorded in; the default world if not given.

    Returns:
      The path.

    Raises:
      SooError: there is no such episode, fewer than two frames, or a path that cannot be written.
    """
    if frames < 2:
        raise SooError(f"frames must be at least 2, found {frames}")
    shown, params = episode_of(trajectory, episode), params or PhysicalDeceptionParams()
    times = np.unique(np.linspace(0, len(shown.red) - 1, frames).round().astype(int))
    figure, rooms = _figure(len(times), title)
    for room, time in zip(rooms, times, strict=True):
        _Stage(room, shown, params, f"step {time}").show(time, trail=len(shown.red))
    _legend(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomically(path, buffer.getvalue())
    return Path(path)


def animate(
    trajectories: Mapping[str, Trajectory],
    path: str | Path,
    episode: int | Sequence[int] = 0,
    params: PhysicalDeceptionParams | None = None,
    frames_per_second: int = 12,
    hold: int = 15,
) -> Path:
    """Draws episodes of several conditions side by side as an endless GIF.

    Args:
      trajectories: ``[B, ...]`` each, by the name that stands above the room. episode: which ones to play, one after
        the other; rolled out with one key, all conditions start them alike.
      params: the world they were recorded in; the default world if not given.
      hold: frames for which the end of an episode stays.

    Returns:
      The path.

    Raises:
      SooError: nothing to draw, there is no such episode, or a path that cannot be written.
    """
    episodes = [episode] if isinstance(episode, int) else list(episode)
    if not trajectories or not episodes:
        raise SooError("an animation needs at least one condition and one episode")
    params, pictures = params or PhysicalDeceptionParams(), []
    for number in episodes:
        shown = {name: episode_of(trajectory, number) for name, trajectory in trajectories.items()}
        figure, rooms = _figure(len(shown), "")
        stages = [_Stage(room, it, params, name) for room, (name, it) in zip(rooms, shown.items(), strict=True)]
        _legend(figure)
        length = max(len(it.red) for it in shown.values())
        for time in [*range(length), *([length - 1] * hold)]:
            for stage in stages:
                stage.show(time, TRAIL)
            pictures.append(_picture(figure))
    write_atomically(path, _gif(pictures, frames_per_second))
    return Path(path)


class _Stage:
    """A room with what moves in it; made once, moved to a time by ``show``."""

    def __init__(self, room: Axes, episode: Episode, params: PhysicalDeceptionParams, title: str):
        from matplotlib.patches import Circle

        self.episode, self.room = episode, room
        _furnish(room, episode, params, title)
        circle = lambda **look: room.add_patch(Circle((0, 0), **look))
        line = lambda colour: room.plot([], [], color=colour, lw=1.8, alpha=0.55, solid_capstyle="round", zorder=3)[0]
        sight = float(params.sight)
        self.sight = circle(radius=sight, facecolor=BLUE, alpha=0.13, lw=0, zorder=2)
        self.edge = circle(radius=sight, facecolor="none", edgecolor=BLUE, lw=0.9, ls=(0, (4, 3)), zorder=2)
        self.trails = {"red": line(RED), "blue": line(BLUE)}
        self.bodies = {  # red shows as a ring where blue stands on it
            who: circle(radius=radius, facecolor=colour, edgecolor="white", lw=1, zorder=5)
            for who, colour, radius in (("red", RED, 0.078), ("blue", BLUE, 0.048))
        }
        self.clock = room.plot([], [], color=MUTED, lw=2.5, solid_capstyle="butt", zorder=4)[0]
        self.trap = circle(radius=0.12, facecolor="none", edgecolor=TRAP, lw=2.2, zorder=6, visible=False)
        text = lambda x, align, colour, y=-1.17: room.text(
            x, y, "", ha=align, va="top", color=colour, fontsize=8.5, family="monospace", fontweight="bold"
        )
        self.scores = {"red": text(1.06, "right", RED), "blue": text(-1.06, "left", BLUE)}
        self.verdict = text(0.0, "center", TRAP)

    def show(self, time: int, trail: int) -> None:
        """Moves everything to where it was at ``time``, or at the end if the episode is over by then."""
        episode = self.episode
        time = min(time, len(episode.red) - 1)
        for who, path in (("red", episode.red), ("blue", episode.blue)):
            self.bodies[who].center = tuple(path[time])
            self.trails[who].set_data(*path[max(0, time - trail) : time + 1].T)
            self.scores[who].set_text(f"{who} {episode.rewards[who][:time].sum():+.0f}")
        self.sight.center = self.edge.center = self.bodies["blue"].center
        past = 2 * time / max(1, len(episode.red) - 1) - 1
        self.clock.set_data([-1.05, 1.05 * past], [-1.0, -1.0])
        self.trap.center = self.bodies["red"].center
        caught = bool(episode.trapped[time])
        self.trap.set_visible(caught)
        self.verdict.set_text("trapped" if caught else "")


def _furnish(room: Axes, episode: Episode, params: PhysicalDeceptionParams, title: str) -> None:
    """Walls, floor and the two landmarks; how near counts as being at them is drawn around."""
    from matplotlib.patches import Circle, Rectangle
    from matplotlib.patheffects import withStroke

    half = float(params.wall_width) / 2
    room.add_patch(Rectangle((-1 - half, -1 - half), 2 + 2 * half, 2 + 2 * half, facecolor=WALL, lw=0, zorder=0))
    room.add_patch(Rectangle((-1 + half, -1 + half), 2 - 2 * half, 2 - 2 * half, facecolor=FLOOR, lw=0, zorder=1))
    for place, colour, name in ((episode.fake, TRAP, "trap"), (episode.goal, GOAL, "goal")):
        room.add_patch(Circle(place, float(params.reach), facecolor=colour, alpha=0.16, lw=0, zorder=1.5))
        room.add_patch(Circle(place, 0.08, facecolor="white", edgecolor=colour, lw=2, zorder=2.5))
        room.plot(*place, marker="*" if name == "goal" else "x", color=colour, ms=8, mew=2, zorder=2.6)
        side = _free_side(place, float(params.reach) + 0.03, episode)
        room.text(
            place[0],
            place[1] + side * (float(params.reach) + 0.03),
            name,
            color=colour,
            fontsize=8.5,
            ha="center",
            va="bottom" if side > 0 else "top",
            zorder=6.5,
            path_effects=[withStroke(linewidth=2.5, foreground=FLOOR)],
        )
    room.set(xlim=(-1.08, 1.08), ylim=(-1.34, 1.08), aspect="equal")
    room.set_title(title, fontsize=11, color=INK, pad=4)
    room.axis("off")


def _free_side(place: np.ndarray, away: float, episode: Episode) -> int:
    """Where a landmark's name is out of the way: 1 above its circle, -1 below; never in the wall."""
    if abs(place[1]) > 0.6:
        return -1 if place[1] > 0 else 1
    path = np.concatenate([episode.red, episode.blue])
    met = lambda side: np.sum(np.all(np.abs(path - place - [0, side * (away + 0.06)]) < [0.25, 0.12], axis=1))
    return -1 if met(-1) < met(1) else 1


def _figure(rooms: int, title: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    top = 0.35 if title else 0.05
    height = 2.75 + 0.3 + 0.3 + top
    figure = Figure(figsize=(2.45 * rooms, height), facecolor=SURFACE)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12, color=INK, y=1 - 0.09 / height, va="top")
    grid = figure.add_gridspec(
        1, rooms, left=0.02, right=0.98, bottom=0.3 / height, top=1 - (top + 0.3) / height, wspace=0.05
    )
    return figure, [figure.add_subplot(grid[0, i]) for i in range(rooms)]


def _legend(figure: Figure) -> None:
    """What the marks mean, in one line, as far as it fits the width."""
    words = "blue knows the goal, red does not · dashed: how far they see · numbers: rewards so far"
    short = "blue knows the goal, red does not"
    figure.text(
        0.5, 0.015, words if figure.get_figwidth() > 5 else short, ha="center", va="bottom", color=MUTED, fontsize=8.5
    )


def _picture(figure: Figure) -> np.ndarray:
    """The figure as it is now, ``[H, W, 3]`` bytes."""
    figure.set_dpi(100)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _gif(pictures: list[np.ndarray], frames_per_second: int) -> bytes:
    """One palette for all frames, so that nothing flickers."""
    from PIL import Image

    sample = Image.fromarray(np.concatenate(pictures[:: max(1, len(pictures) // 4)]))
    palette = sample.quantize(128, method=Image.Quantize.MEDIANCUT)
    frames = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
