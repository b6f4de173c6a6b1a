"""The paper's own recipes on real models of their families, and what comes of them on two taught to deceive."""
