"""The published answers of the paper's models, judged again."""
