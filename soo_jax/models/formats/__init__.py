"""Where tensors come from. A format is a reader: names, shapes, dtypes, and slices; it knows no architecture."""

from soo_jax.models.formats.reader import DTYPES, TensorReader
from soo_jax.models.formats.safetensors import INDEX, SINGLE, SafetensorsReader, write_safetensors

__all__ = ["DTYPES", "INDEX", "SINGLE", "SafetensorsReader", "TensorReader", "write_safetensors"]
