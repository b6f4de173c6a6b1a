"""Pictures: that they show what happened, and what cannot be drawn."""

import jax
import numpy as np
import pytest
from PIL import Image

from soo_jax.errors import SooError
from soo_jax.rl.games.physical_deception.render import BLUE, RED, _free_side, animate, episode_of, strip
from soo_jax.rl.games.physical_deception.trajectory import Trajectory

STEPS = 4


def walk(blue_to=(-0.5, 0.0), trapped=False):
    """Two episodes in which red stands on the right and blue walks; in the second one nobody moves."""
    positions = np.zeros((2, STEPS + 1, 2, 2), np.float32)
    positions[:, :, 0] = 0.7, -0.6
    positions[0, :, 1] = np.linspace(0, 1, STEPS + 1)[:, None] * blue_to
    return Trajectory(
        positions=positions,
        velocities=np.zeros_like(positions),
        landmarks=np.array([[[-0.6, 0.5], [0.6, 0.5]]] * 2, np.float32),
        goal=np.array([0, 0]),
        trapped=np.full((2, STEPS + 1), trapped),
        rewards={"red": np.zeros((2, STEPS)), "blue": np.ones((2, STEPS))},
        actions=np.zeros((2, STEPS, 2, 2), np.float32),
        obs_blue=np.zeros((2, STEPS + 1, 10), np.float32),
    )


def share(picture, colour):
    """Where a colour is: its mean column and row as fractions of the picture; NaN if it is not there."""
    rgb = np.asarray(picture.convert("RGB")).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    rows, columns = np.nonzero((np.abs(rgb - wanted) < 12).all(axis=-1)[: int(0.8 * len(rgb))])  # above the scores
    return (columns.mean() / rgb.shape[1], rows.mean() / rgb.shape[0]) if len(rows) else (np.nan, np.nan)


def test_an_animation_shows_every_step_of_every_condition_and_holds_the_end(tmp_path):
    path = animate({"left": walk(), "right": walk((0.5, 0.0))}, tmp_path / "new" / "two.gif", hold=3)
    with Image.open(path) as gif:
        assert gif.n_frames >= STEPS + 1
        assert gif.info["loop"] == 0
        gif.seek(0)
        start = gif.convert("RGB")
        gif.seek(STEPS)
        end = gif.convert("RGB")
    half = lambda picture, right: picture.crop(
        (picture.width // 2 * right, 0, picture.width // 2 * (1 + right), picture.height)
    )
    blue = {right: [share(half(picture, right), BLUE)[0] for picture in (start, end)] for right in (0, 1)}
    assert blue[0][1] < blue[0][0] - 0.1
    assert blue[1][1] > blue[1][0] + 0.1
    assert share(half(start, 0), RED)[0] > 0.6
    assert share(half(start, 0), RED)[1] > share(half(start, 0), BLUE)[1]


def test_a_strip_has_a_room_for_every_moment(tmp_path):
    with Image.open(strip(walk(), tmp_path / "strip.png", frames=4, title="Blue walks")) as picture:
        assert picture.format == "PNG"
        rooms = [
            picture.crop((picture.width * i // 4, 0, picture.width * (i + 1) // 4, picture.height)) for i in (0, 3)
        ]
        assert share(rooms[1], BLUE)[0] < share(rooms[0], BLUE)[0] - 0.05
        wide = picture.width
    with Image.open(strip(walk(), tmp_path / "short.png", frames=2)) as picture:
        assert picture.width < 0.6 * wide


def test_a_trapped_red_looks_different_and_one_episode_without_a_batch_is_drawn_as_well(tmp_path):
    free, caught = walk(), jax.tree.map(lambda x: x[0], walk(trapped=True))
    pictures = [strip(t, tmp_path / f"{i}.png", frames=2).read_bytes() for i, t in enumerate((free, caught))]
    assert pictures[0] != pictures[1]
    assert strip(free, tmp_path / "again.png", frames=2).read_bytes() == pictures[0]
    assert strip(free, tmp_path / "second.png", episode=1, frames=2).read_bytes() != pictures[0]


def test_a_landmarks_name_stands_where_nobody_walks_and_never_in_the_wall():
    moving = lambda y: episode_of(walk(), 0)._replace(blue=np.asarray([[0.0, y]] * 3), red=np.full((3, 2), 0.9))
    assert _free_side(np.zeros(2), 0.2, moving(0.3)) == -1
    assert _free_side(np.zeros(2), 0.2, moving(-0.3)) == 1
    assert _free_side(np.asarray([0.0, 0.8]), 0.2, moving(0.5)) == -1, "above it is the wall"
    assert _free_side(np.asarray([0.0, -0.8]), 0.2, moving(-0.5)) == 1, "below it is the wall"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda folder: strip(walk(), folder / "a.png", episode=2), "episode must be 0 to 1, found 2"),
        (lambda folder: strip(walk(), folder / "a.png", frames=1), "frames must be at least 2, found 1"),
        (lambda folder: animate({}, folder / "a.gif"), "at least one condition"),
        (lambda folder: strip(jax.tree.map(lambda x: x[None], walk()), folder / "a.png"), "one agent"),
        (lambda folder: strip(walk(), folder / "file" / "a.png", frames=2), "file"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line_and_nothing_is_left(draw, words, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SooError, match=words) as raised:
        draw(tmp_path)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
