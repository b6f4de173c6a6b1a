"""Decoders: configs, weights, probes, forward passes and generation. Knows nothing of self-other overlap."""
