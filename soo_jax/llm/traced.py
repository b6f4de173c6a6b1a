"""What a program costs, read off its trace: no weight is loaded and nothing is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class Cost(NamedTuple):
    """``flops`` of matrix products; ``largest`` array in between, in bytes."""

    flops: float
    largest: int


def cost(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Counts a function of arrays or of ``jax.ShapeDtypeStruct``. A loop of unknown length counts once."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def kept_for_backward(function: Callable[[Any], Any], variables: Any, *constants: Any) -> list[jax.ShapeDtypeStruct]:
    """What the backward pass of ``function(variables, *constants)`` keeps of the forward pass.

    Arguments that are kept as they are count too: see whether a shape is one of theirs.
    """

    def residuals(variables: Any, *constants: Any) -> list[Any]:
        _, pull = jax.vjp(lambda variables: function(variables, *constants), variables)
        return jax.tree.leaves(pull)

    return jax.eval_shape(residuals, variables, *constants)


def size_of(tree: Any) -> int:
    """Bytes of the arrays of a tree."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _count(jaxpr: Any) -> Cost:
    flops, largest = 0.0, 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            flops += _product(equation)
        inside = list(_inner(equation))
        for inner, times in inside:
            found = _count(inner)
            flops, largest = flops + times * found.flops, max(largest, found.largest)
        if not inside:  # what a loop stacks up for later is not in between
            largest = max([largest, *(_bytes(variable.aval) for variable in equation.outvars)])
    return Cost(flops, largest)


def _bytes(aval: Any) -> int:
    return math.prod(aval.shape) * aval.dtype.itemsize if hasattr(aval.dtype, "itemsize") else 0


def _product(equation: Any) -> float:
    """Multiplications and additions of one product: two for each number of the result and each that is summed over."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left.shape[axis] for axis in contracted)


def _inner(equation: Any) -> Iterator[tuple[Any, int]]:
    """The programs inside an operation, and how often each is run."""
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    for name, value in equation.params.items():
        if name in ("fwd_jaxpr_thunk", "bwd", "cond_jaxpr"):
            continue
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(one, "eqns"):
                yield one, times
            elif hasattr(one, "jaxpr") and hasattr(one.jaxpr, "eqns"):
                yield one.jaxpr, times
