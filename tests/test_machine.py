"""Memory that a CPU's programs take as it is."""

import jax
import ml_dtypes
import numpy as np
import pytest

from soo_jax.machine import aligned, free_bytes


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8])
def test_an_aligned_array_is_taken_over_by_jax_without_a_copy(dtype):
    values = aligned((3, 1001), np.dtype(dtype))
    values[:] = 1
    taken = jax.device_put(values, jax.local_devices(backend="cpu")[0], may_alias=True)
    assert taken.unsafe_buffer_pointer() == values.ctypes.data
    assert (np.asarray(taken) == 1).all() and taken.shape == (3, 1001)


def test_the_system_tells_how_much_memory_is_free():
    assert free_bytes() > 1 << 20
