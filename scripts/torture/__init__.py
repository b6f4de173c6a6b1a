"""Kills, damages and starves runs, and says what was lost."""
