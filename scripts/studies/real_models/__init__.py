"""The study of real models: an organism made of SmolLM2, where its deception is decided, and what SOO does to it."""
