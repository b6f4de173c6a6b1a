"""Reports about language models."""
