"""The rooms of the house import downwards only, and stay of a size that a person can read."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"cli"},
    {"bridges"},
    {"jobs", "report"},
    {"llm", "rl"},
    {"tasks"},
    {"adapters"},
    {"models"},
    {"overlap"},
]
"""From the top down: a room may import those below it, and none beside it."""
FILES = sorted([*ROOT.glob("soo_jax/**/*.py"), *ROOT.glob("envs/**/*.py"), *ROOT.glob("scripts/**/*.py")])


def room_of(module):
    """The room of ``soo_jax.room.module``; None for what lies beside the rooms, which all may use."""
    parts = module.split(".")
    named = {room for floor in FLOORS for room in floor}
    return parts[1] if parts[0] == "soo_jax" and len(parts) > 1 and parts[1] in named else None


def imports_of(path):
    """Modules that a file imports when it runs; what is imported for type checkers alone does not count."""
    found = []

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node):
            found.extend(name.name for name in node.names)

        def visit_ImportFrom(self, node):
            assert not node.level, f"{path.name}: imports are written whole"
            found.extend(f"{node.module}.{name.name}" for name in node.names)

    Visitor().visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def floor_of(room):
    return next(i for i, floor in enumerate(FLOORS) if room in floor)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_downwards(path):
    relative = path.relative_to(ROOT)
    own = room_of(".".join(relative.with_suffix("").parts))
    for module in imports_of(path):
        other = room_of(module)
        if relative.parts[0] == "envs":
            assert not module.startswith("soo_jax"), f"{relative} imports {module}"
        if relative.parts[0] != "scripts":
            assert not module.startswith(("scripts", "torch")), f"{relative} imports {module}"
        if own and other and own != other:
            assert floor_of(own) < floor_of(other), f"{relative} imports {module}"
        if relative.parts[0] == "soo_jax" and not own and relative.stem != "__init__":
            assert not other, f"{relative} lies beside the rooms, which all use, and imports {module}"


def test_every_folder_of_the_library_is_a_room_with_a_floor():
    rooms = {path.name for path in (ROOT / "soo_jax").iterdir() if any(path.glob("*.py"))}
    assert rooms == {room for floor in FLOORS for room in floor}
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"| `soo_jax/{room}` |" in told for room in rooms), "the map in CONTRIBUTING has a line for each"


ALONE = {
    "soo_jax/overlap": {"jax", "soo_jax.overlap", "soo_jax.errors"},
    "envs/soo_envs": {"jax", "flax", "chex", "numpy", "gymnax", "jaxmarl", "soo_envs"},
}
"""Rooms that can be taken out of the house, and all that they need (jaxmarl in one file alone, as an extra)."""


@pytest.mark.parametrize("room", ALONE)
def test_the_heart_and_the_environments_need_next_to_nothing(room):
    for path in (ROOT / room).rglob("*.py"):
        for module in imports_of(path):
            if module.split(".")[0] not in sys.stdlib_module_names:
                assert any(f"{module}.".startswith(f"{name}.") for name in ALONE[room]), f"{path.name}: {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_fit_on_a_few_screens_and_have_names_that_say_something(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert not {"utils", "helpers", "misc", "common_utils"} & {*path.with_suffix("").parts}
