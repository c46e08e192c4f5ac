"""Prefetching of rows in no regular order.

They are too short for the processor to recognise that it should load the rest of each ahead of its use.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LINE = 16  # numbers in a line of the cache


@intrinsic
def prefetch(_: Any, row: Any) -> Any:
    """Have a float32 [H] loaded into the cache, without waiting for it."""
    return types.void(row), _generate_prefetch


def _generate_prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    length = cgutils.unpack_tuple(builder, array.shape)[0]
    with cgutils.for_range_slice(builder, length.type(0), length, length.type(LINE)) as (j, _):
        builder.call(
            prefetch, [builder.bitcast(builder.gep(array.data, [j]), byte), flag(0), flag(3), flag(1)]
        )  # to read, keep, data
    return context.get_dummy_value()
