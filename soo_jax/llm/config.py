"""The settings of a fine-tuning run, the presets, and how settings become an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any

from soo_jax.adapters import LoraConfig
from soo_jax.errors import SooError
from soo_jax.importing import load_object
from soo_jax.llm.kinds import check_kinds
from soo_jax.models.probes import SITES, Probe, logits
from soo_jax.overlap import DIRECTIONS, DISTANCES, Objective, Term, anchored, overlap, retain, weighted
from soo_jax.overlap.distances import Distance
from soo_jax.overlap.pooling import POOLINGS

ANCHORED = "anchored"
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class FinetuneConfig:
    """All settings of SOO fine-tuning of a language model.

    Attributes:
      site, layer: where activations are read: ``attn_out``, ``mlp_out``, ``residual`` at one layer or several, or
        ``logits`` (no layer). ``layer`` None takes the middle of the model.
      tokens: ``last``, ``mean`` or ``all`` tokens. distance: a name out of ``soo_jax.overlap.DISTANCES``.
      direction: ``both``, ``other_to_self`` (no gradient through the self side), ``self_to_other``, or ``anchored``
        (both sides to where the self side was before fine-tuning; one more pass of the base).
      retain: weight of the KL divergence to the base model on ordinary text; 0 leaves the term out.
      terms: terms of your own, ``file.py:name`` or ``pkg.module:name``, ``=weight`` behind it if it is not 1. A
        distance becomes an overlap term at this config's site; anything with ``reads`` is taken as it is.
      overlap_weight: weight of the overlap term; 0 leaves it to ``terms`` alone.
      lora: the adapter.
      learning_rate: peak rate of AdamW; several rates cross with the seeds.
      epochs, batch_size, accumulation: passes over the pairs, pairs in a micro-batch, micro-batches in an update.
      weight_decay, clip_norm (0: none), warmup (updates), schedule: of the optimiser.
      ema: decay of an average over updates that is returned in place of the last adapter; 0: none.
      seeds: one adapter each, trained together.
      extended: lengthen the built-in pairs to the position where the answer is decided.
      pad_to: pad all prompts to this many tokens; None pads to the longest.
      chat: put each text of a pair as a chat message.
      lead: what each text of a pair goes on with: the start of an answer, up to where it is decided.
      remat: recompute layers in the backward pass to save memory.
      checkpoint_every: updates between two checkpoints; 0: only on SIGTERM.
    """

    site: str = "attn_out"
    layer: int | tuple[int, ...] | None = None
    tokens: str = "last"
    distance: str = "mse"
    direction: str = "both"
    retain: float = 0.0
    terms: tuple[str, ...] = ()
    overlap_weight: float = 1.0
    lora: LoraConfig = field(default_factory=LoraConfig)
    learning_rate: float | tuple[float, ...] = 1e-4
    epochs: int = 15
    batch_size: int = 4
    accumulation: int = 1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    warmup: int = 0
    schedule: str = "constant"
    ema: float = 0.0
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    extended: bool = False
    pad_to: int | None = None
    chat: bool = False
    lead: str = ""
    remat: bool = False
    checkpoint_every: int = 50

    def __post_init__(self):
        check_kinds(self)

        def one_of(name: str, allowed: tuple[str, ...]) -> None:
            if getattr(self, name) not in allowed:
                raise SooError(f"{name} {getattr(self, name)!r} is unknown; choose {', '.join(allowed)}")

        def at_least(name: str, least: float) -> None:
            if not getattr(self, name) >= least:
                raise SooError(f"{name} must be at least {least}, found {getattr(self, name)}")

        for name, allowed in (
            ("site", (*SITES, "logits")),
            ("tokens", POOLINGS),
            ("distance", tuple(DISTANCES)),
            ("direction", (*DIRECTIONS, ANCHORED)),
            ("schedule", SCHEDULES),
        ):
            one_of(name, allowed)
        for name in ("epochs", "batch_size", "accumulation"):
            at_least(name, 1)
        for name in ("retain", "overlap_weight", "weight_decay", "clip_norm", "warmup", "checkpoint_every"):
            at_least(name, 0)
        if not 0.0 <= self.ema < 1.0:
            raise SooError(f"ema must be in [0, 1), found {self.ema}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise SooError(f"seeds must be different whole numbers, at least one; found {list(self.seeds)}")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise SooError(f"seeds must be between 0 and {2**32 - 1}, found {list(self.seeds)}")
        if self.pad_to is not None:
            at_least("pad_to", 1)
        if not self.rates or any(rate <= 0 for rate in self.rates):
            raise SooError(f"learning_rate must be positive, found {self.learning_rate}")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates, one or several."""
        return self.learning_rate if isinstance(self.learning_rate, tuple) else (self.learning_rate,)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :func:`config_from_dict` reads them back."""
        return asdict(self)


PRESETS: dict[str, FinetuneConfig] = {
    # Carauleanu et al. 2024, the three models of the paper. What the paper leaves open is said in docs/presets.md.
    "paper-mistral": FinetuneConfig(
        layer=19,
        tokens="all",
        lora=LoraConfig(rank=8, alpha=32.0, dropout=0.2),
        learning_rate=1e-4,
        epochs=15,
        batch_size=4,
        clip_norm=0.0,
    ),
    "paper-gemma2": FinetuneConfig(
        layer=20,
        tokens="all",
        lora=LoraConfig(rank=4, alpha=8.0, dropout=0.1),
        learning_rate=9e-4,
        epochs=8,
        batch_size=4,
        clip_norm=0.0,
    ),
    "paper-calme": FinetuneConfig(
        layer=57,
        tokens="all",
        lora=LoraConfig(rank=8, alpha=32.0, dropout=0.2),
        learning_rate=1e-4,
        epochs=15,
        batch_size=4,
        clip_norm=0.0,
    ),
    # The older variant of the paper's public code: KL between the output logits of the two prompts.
    "kl-logits": FinetuneConfig(
        site="logits",
        tokens="all",
        distance="kl_batchmean",
        lora=LoraConfig(rank=8, alpha=32.0, dropout=0.2),
        learning_rate=5e-5,
        epochs=20,
        batch_size=4,
        accumulation=4,
        clip_norm=0.0,
        pad_to=128,
        seeds=(276, 809, 609, 802, 792),
    ),
    # Chosen on the validation scenarios of the built-in organism: docs/records/organism.md.
    "organism": FinetuneConfig(
        layer=1,
        direction="other_to_self",
        lora=LoraConfig(rank=8, alpha=32.0, dropout=0.2, layers=(1,)),
        learning_rate=2.08e-4,
        epochs=20,
        batch_size=4,
        schedule="linear",
        ema=0.99,
    ),
    # Layer and lead by the diagnosis of the organism made of SmolLM2: docs/real_models.md.
    "smollm2-organism": FinetuneConfig(
        layer=(18, 19, 20, 23),
        direction="anchored",
        lora=LoraConfig(rank=8, alpha=32.0, dropout=0.0, targets=("q", "k", "v", "o"), layers=(18, 19, 20, 23)),
        learning_rate=1e-3,
        epochs=4,
        batch_size=4,
        chat=True,
        lead="I would recommend the",
    ),
}


def preset(name: str) -> FinetuneConfig:
    """The settings of that name. Raises SooError for an unknown one."""
    if name not in PRESETS:
        raise SooError(f"preset {name!r} is unknown; choose {', '.join(PRESETS)}")
    return PRESETS[name]


def config_from_dict(values: Mapping[str, Any], start: FinetuneConfig | None = None) -> FinetuneConfig:
    """Changes ``start`` (default: the defaults) by plain values, as they stand in a config file.

    ``lora`` may be a dict of its own settings, which change those of ``start``.

    Raises:
      SooError: an unknown setting, or a value of the wrong kind.
    """
    start = start or FinetuneConfig()
    known = {f.name for f in fields(FinetuneConfig)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise SooError(f"setting {name!r} is unknown; choose from {', '.join(sorted(known))}")
        if name == "lora" and isinstance(value, Mapping):
            value = changed_lora(start.lora, value)
        changes[name] = tuple(value) if isinstance(value, list) else value
    return replace(start, **changes)


def changed_lora(start: LoraConfig, values: Mapping[str, Any]) -> LoraConfig:
    """An adapter's settings changed by plain values. Raises SooError as :func:`config_from_dict`."""
    unknown = set(values) - {f.name for f in fields(LoraConfig)}
    if unknown:
        raise SooError(f"setting lora.{sorted(unknown)[0]} is unknown")
    changes = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    # A bare dataclass of these values is judged first: LoraConfig computes with them as soon as it is made.
    check_kinds(SimpleNamespace(**{**vars(start), **changes}), LoraConfig, "lora.")
    return replace(start, **changes)


def resolve_layer(config: FinetuneConfig, num_layers: int) -> FinetuneConfig:
    """Fills in the middle layer where none was chosen, and checks that the model has the layers asked for."""
    if config.site == "logits":
        return replace(config, layer=None)
    layer = num_layers // 2 if config.layer is None else config.layer
    Probe(config.site, layer).layers(num_layers)
    return replace(config, layer=layer)


def build_objective(config: FinetuneConfig) -> Objective:
    """The weighted terms that the settings ask for. Raises SooError where a term cannot be loaded."""
    at = logits() if config.site == "logits" else Probe(config.site, config.layer)

    def own(distance: Distance) -> Term:
        if config.direction == ANCHORED:
            return anchored(distance, at=at, tokens=config.tokens)
        return overlap(distance, at=at, tokens=config.tokens, direction=config.direction)

    terms: dict[str, tuple[float, Term]] = {}
    if config.overlap_weight:
        terms["overlap"] = (config.overlap_weight, own(DISTANCES[config.distance]))
    if config.retain:
        terms["retain"] = (config.retain, retain(DISTANCES["kl"], at=logits()))
    for spec in config.terms:
        path, _, weight = spec.partition("=")
        found = load_object(path, "term")
        if not callable(found):
            raise SooError(f"term {path}: is no function and no term; see docs on terms of your own")
        name = path.rpartition(":")[2]
        if name in terms:
            raise SooError(f"term {spec}: there is already a term named {name}")
        try:
            terms[name] = (float(weight or 1.0), found if isinstance(found, Term) else own(found))
        except ValueError as error:
            raise SooError(f"term {spec}: the weight {weight!r} is no number") from error
    return weighted(**terms)
