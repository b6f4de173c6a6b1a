"""Which mesh a job should run on, whether it fits, and how long it takes: from shapes alone, before anything is loaded.

Memory is counted by :mod:`soo_jax.llm.memory`. Time is a roofline: the slowest of products, memory and links, each at a
share of what the maker promises. Times are for choosing between layouts; they have not been measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from soo_jax.errors import SooError
from soo_jax.llm.chips import USABLE, Chip
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.memory import Footprint, Texts, abstract_params, answering, finetuning
from soo_jax.llm.traced import size_of
from soo_jax.models.config import DecoderConfig
from soo_jax.parallel import AXES

PRODUCTS, MEMORY, LINKS = 0.4, 0.7, 0.6
"""Shares of the promised speed of products, memory and links that a program reaches."""
NETWORK = 25e9
"""Bytes/s in one direction between hosts that are not linked."""
JOBS = ("finetune", "eval")
_UNKNOWN = Chip("cpu", math.inf, 1e11, 2e10, 2e10, 1, "")


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
      job: ``finetune`` or ``eval``. finetune: its settings; of an evaluation, those of the adapters that are measured.
      dtype: how the base is held. pairs: to train on. prompts: to answer. batch: of them at once. texts: their lengths.
    """

    job: str = "finetune"
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    dtype: str = "bfloat16"
    pairs: int = 52
    prompts: int = 250
    batch: int = 128
    texts: Texts = field(default_factory=Texts)

    def __post_init__(self):
        if self.job not in JOBS:
            raise SooError(f"job {self.job!r} is unknown; choose {', '.join(JOBS)}")

    @property
    def members(self) -> int:
        """Adapters at once."""
        return len(self.finetune.seeds) * len(self.finetune.rates)

    @property
    def rounds(self) -> int:
        """Updates, or batches of answers."""
        if self.job == "eval":
            return -(-self.prompts // self.batch)
        micro = self.finetune.epochs * -(-self.pairs // self.finetune.batch_size)
        return max(1, micro // self.finetune.accumulation)

    @property
    def rows(self) -> int:
        """Rows of one batch, those of both sides of pairs together."""
        return self.batch if self.job == "eval" else 2 * self.finetune.batch_size

    @property
    def tokens(self) -> int:
        """Tokens of a row that pass through a layer together."""
        return self.texts.prompt if self.job == "eval" else self.texts.pair


class Mesh(NamedTuple):
    """Sizes of the axes of a mesh."""

    sweep: int = 1
    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    def __str__(self) -> str:
        parts = [f"{name}={size}" for name, size in zip(AXES, self, strict=True) if size > 1]
        return ",".join(parts) or "none"


def planned_mesh(mesh: Any) -> Mesh:
    """The sizes of a mesh of devices; of no mesh, those of one device."""
    return Mesh() if mesh is None else Mesh(*(mesh.shape[name] for name in AXES))


class Layout(NamedTuple):
    """A job on a mesh: bytes on each device by what they are for, and seconds of all rounds by what they go into."""

    mesh: Mesh
    weights: float
    adapters: float
    rows: float
    between: float
    products: float
    memory: float
    links: float

    @property
    def bytes(self) -> float:
        """What a device must hold."""
        return self.weights + self.adapters + self.rows + self.between

    @property
    def seconds(self) -> float:
        """The roofline: products or memory, whichever takes longer, and the links."""
        return max(self.products, self.memory) + self.links


@dataclass(frozen=True)
class Plan:
    """What came of planning.

    Attributes:
      chosen: the fastest layout that fits; where none does, the one that holds least on a device.
      others: how many layouts were weighed. fits: whether it does. room: bytes of a device that a program gets.
      cures: where it does not fit, what would, in words.
    """

    chosen: Layout
    others: int
    fits: bool
    room: float
    footprint: Footprint
    cures: tuple[str, ...]


def plan(model: DecoderConfig, chip: Chip, count: int, work: Work, mesh: Mesh | None = None) -> Plan:
    """Weighs every mesh of ``count`` devices, or the one that is given.

    Raises:
      SooError: settings that the model does not have.
    """
    footprint = _footprint(model, work)
    layouts = [
        _layout(model, chip, mesh, work, footprint)
        for mesh in (_meshes(model, count, work) if mesh is None else [mesh])
    ]
    room = USABLE * chip.memory
    fitting = [layout for layout in layouts if layout.bytes <= room]
    if fitting:
        chosen = min(fitting, key=lambda layout: (layout.seconds, layout.mesh[1:]))
        return Plan(chosen, len(layouts), True, room, footprint, ())
    least = min(layouts, key=lambda layout: layout.bytes)
    return Plan(least, len(layouts), False, room, footprint, _cures(model, chip, count, work))


def choose_mesh(model: DecoderConfig, chip: Chip | None, count: int, work: Work) -> tuple[Mesh, str]:
    """The mesh of a job, and why, in words. A chip that is not known (a CPU) is taken for one that has room enough."""
    if count == 1:
        return Mesh(), "there is one device"
    found = plan(model, chip or replace(_UNKNOWN, close=count), count, work)
    layout = found.chosen
    needs = f"{layout.bytes / 1e9:.1f} GB on each of {math.prod(layout.mesh)} devices"
    if found.fits:
        return layout.mesh, f"{needs}; the fastest of {found.others} layouts by roofline"
    return layout.mesh, f"{needs}, and there are {found.room / 1e9:.1f}: it will not fit; {'; '.join(found.cures)}"


def most_stacked(model: DecoderConfig, work: Work, room: float, mesh: Mesh | None = None) -> int:
    """How many members of a job fit together into ``room`` bytes of each device; one at least.

    What they hold grows evenly with their number, so that one and two of them tell the rest.
    """

    def held(count: int) -> float:
        own = replace(work.finetune, seeds=tuple(range(count)), learning_rate=work.finetune.rates[0])
        several = replace(work, finetune=own)
        return _layout(model, _UNKNOWN, mesh or Mesh(), several, _footprint(model, several)).bytes

    one, two = held(1), held(2)
    return max(1, 1 + int((room - one) // (two - one)))


def _footprint(model: DecoderConfig, work: Work) -> Footprint:
    if work.job == "eval":
        return answering(model, work.finetune.lora, work.dtype, work.members, work.batch, work.texts)
    return finetuning(model, work.finetune, work.dtype, work.pairs, work.texts)


def _meshes(model: DecoderConfig, count: int, work: Work) -> Iterator[Mesh]:
    """Every mesh that uses all devices, or as many as divide evenly: seeds, rows and heads are never split unevenly."""
    found = []
    for sweep in _divisors(work.members):
        for tensor in _divisors(model.num_kv_heads):
            for split in _divisors(work.rows):
                for fsdp in _divisors(split):
                    mesh = Mesh(sweep, split // fsdp, fsdp, tensor)
                    if math.prod(mesh) <= count:
                        found.append(mesh)
    most = max(map(math.prod, found))
    # Fewer devices than there are may be faster, where links are slow; a few layouts of each size are enough.
    yield from (mesh for mesh in found if math.prod(mesh) in (1, most) or count % math.prod(mesh) == 0)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _layout(model: DecoderConfig, chip: Chip, mesh: Mesh, work: Work, whole: Footprint) -> Layout:
    """What a mesh puts on each device, and how long it takes."""
    shards = mesh.fsdp * mesh.tensor
    rows = mesh.data * mesh.fsdp
    held = whole.weights / shards
    layer = _layer_bytes(model, work.dtype)
    gathered = 2 * layer / mesh.tensor if mesh.fsdp > 1 else 0.0  # one layer at work, the next on its way
    adapters = whole.adapters / mesh.sweep
    kept = whole.rows / (mesh.sweep * rows * mesh.tensor)
    between = whole.between / (mesh.sweep * rows * mesh.tensor) + gathered
    each = whole.flops / math.prod(mesh)
    # Every pass reads the weights; members that are stacked read them together.
    streamed = whole.passes * whole.weights / mesh.tensor + (whole.rows / (mesh.sweep * rows * mesh.tensor))
    link = LINKS * (chip.link if math.prod(mesh) <= chip.close else NETWORK)
    traffic = 0.0
    if mesh.fsdp > 1:
        traffic += whole.passes * whole.weights / mesh.tensor * (mesh.fsdp - 1) / mesh.fsdp
    if mesh.tensor > 1:
        positions = work.rows / rows * work.tokens * whole.passes
        if work.job == "eval":
            positions = work.rows / rows * (work.texts.prompt + work.texts.answer)
        sums = 2 * model.num_layers * positions * model.width * _activation_bytes(work.dtype)
        traffic += sums * (work.members / mesh.sweep) * 2 * (mesh.tensor - 1) / mesh.tensor
    rounds = work.rounds
    return Layout(
        mesh,
        held,
        adapters,
        kept,
        between,
        rounds * each / (PRODUCTS * chip.flops),
        rounds * streamed / (MEMORY * chip.bandwidth),
        rounds * traffic / link,
    )


def _layer_bytes(model: DecoderConfig, dtype: str) -> float:
    return size_of(abstract_params(model, dtype)["layers"]) / model.num_layers


def _activation_bytes(dtype: str) -> int:
    return 4 if dtype.endswith("float32") else 2


def _cures(model: DecoderConfig, chip: Chip, count: int, work: Work) -> tuple[str, ...]:
    """What would make it fit: one change at a time, the least intrusive first."""
    settings, found = work.finetune, []

    def fits(changed: Work, devices: int = count) -> bool:
        footprint = _footprint(model, changed)
        room = USABLE * chip.memory
        return any(
            _layout(model, chip, mesh, changed, footprint).bytes <= room for mesh in _meshes(model, devices, changed)
        )

    if work.job == "finetune" and not settings.remat and fits(replace(work, finetune=replace(settings, remat=True))):
        found.append("--remat would fit")
    if work.members > 1 and fits(
        replace(work, finetune=replace(settings, seeds=settings.seeds[:1], learning_rate=1e-3))
    ):
        found.append("one adapter at a time would fit (--seed with one seed)")
    if work.job == "eval" and (
        batch := next((b for b in (64, 32, 16, 8) if b < work.batch and fits(replace(work, batch=b))), 0)
    ):
        found.append(f"--batch-size {batch} would fit")
    if ":" not in work.dtype and work.dtype not in ("nf4", "int8") and fits(replace(work, dtype="nf4")):
        found.append("--dtype nf4 would fit")
    more = next((n for n in (2 * count, 4 * count, 8 * count, 16 * count) if fits(work, n)), None)
    if more:
        found.append(f"{more} devices would fit")
    return tuple(found) or ("nothing that was tried would fit; take more devices, --dtype nf4 and --remat together",)
