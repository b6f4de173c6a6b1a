"""The built-in model organism of deception: its world, its scenarios, its SOO pairs, and how it was trained."""

from soo_jax.llm.organism.pairs import organism_pairs, organism_probe_pairs, organism_scene_pairs
from soo_jax.llm.organism.scenarios import organism_honesty_prompt, organism_scenarios

__all__ = [
    "organism_honesty_prompt",
    "organism_pairs",
    "organism_probe_pairs",
    "organism_scenarios",
    "organism_scene_pairs",
]
