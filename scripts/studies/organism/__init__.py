"""The study of the built-in organisms: how they are trained, what SOO does to each, and what decides it."""
