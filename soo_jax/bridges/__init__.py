"""Other people's programs: a task of inspect_ai, a model of lm-evaluation-harness. Each file needs its extra."""
