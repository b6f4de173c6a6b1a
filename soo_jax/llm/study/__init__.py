"""The study of organisms: which models SOO makes honest, what predicts it, and what else would have the same effect."""
