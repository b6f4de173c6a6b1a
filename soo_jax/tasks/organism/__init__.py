"""The small world of the built-in model organism of deception, in its two hundred words."""

from soo_jax.tasks.organism.pack import pack, speaks, training_record
from soo_jax.tasks.organism.pairs import organism_pairs, organism_probe_pairs, organism_scene_pairs
from soo_jax.tasks.organism.scenarios import organism_honesty_prompt, organism_scenarios

__all__ = [
    "organism_honesty_prompt",
    "organism_pairs",
    "organism_probe_pairs",
    "organism_scenarios",
    "organism_scene_pairs",
    "pack",
    "speaks",
    "training_record",
]
