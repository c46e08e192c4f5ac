"""Which parameters of a module have a row for each id.

A module says so in its attribute `id_axes`, for its own parameters and buffers by name:

    id_axes = {"input_weight": "inputs", "output_weight": "outputs", "output_bias": "outputs"}

Row n of such a parameter belongs to id n of the axis: a column of the input or of the output, or a row of the training matrix.
When ids change, as in a warm start, these rows move with their ids, and all other parameters are copied.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from recsys_ae.core.devices import shapes_only

Axis = Literal["inputs", "outputs", "rows"]


def id_axes(module: nn.Module) -> dict[str, Axis]:
    """Axis of each parameter and buffer that has one, by name in `state_dict()`."""
    known = module.state_dict()
    found: dict[str, Axis] = {}
    for prefix, part in module.named_modules():
        own: Mapping[str, Axis] = getattr(part, "id_axes", {})
        found |= {f"{prefix}.{name}".removeprefix("."): axis for name, axis in own.items()}
    return {name: axis for name, axis in found.items() if name in known}


def wide_weights(module: nn.Module) -> list[nn.Parameter]:
    """The trainable matrices with a row for each id; a shared one counts once."""
    by_id = id_axes(module)
    return [weight for name, weight in module.named_parameters() if name in by_id and weight.ndim == 2 and weight.requires_grad]


def inner_weights(module: nn.Module) -> list[nn.Parameter]:
    """The other matrices, whose size does not depend on the number of ids."""
    by_id = id_axes(module)
    return [weight for name, weight in module.named_parameters() if name not in by_id and weight.ndim == 2]


def output_vectors(module: nn.Module) -> str:
    """Name of the matrix with a vector for each column of the output; that of the input if they share one."""
    matrices = {axis: name for name, axis in id_axes(module).items() if module.state_dict()[name].ndim == 2}
    return matrices["outputs"] if "outputs" in matrices else matrices["inputs"]


def check_id_axes(build: Callable[[int], nn.Module]) -> None:
    """Check that a module declares exactly the parameters and buffers whose shape depends on the number of ids.

    Args:
        build: makes the module for a number of ids; called twice, without allocating anything.

    Raises:
        TypeError: a declaration is missing or superfluous.
    """
    with shapes_only():
        few, more = build(2), build(3)
    declared, before = id_axes(more), few.state_dict()
    for name, weight in more.state_dict().items():
        by_id = weight.shape != before[name].shape
        if by_id != (name in declared):
            problem = "has rows by id, but no axis" if by_id else "has an axis, but no rows by id"
            raise TypeError(f"{type(more).__name__}: {name} {problem}; see `id_axes` in recsys_ae.core.axes")
