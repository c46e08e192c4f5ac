"""Products of a few rows with a few columns, in registers.

Every product is the same sequence of operations, whatever the place of its row and column: x[0] y[0], then x[1] y[1] is added
to it, and so on. So it has the same bits in any block and with any number of threads, which BLAS does not promise.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys_ae.core.kernels.compiled import compiled

# 6 x 16 sums, 2 vectors of columns and a number of a row fill the 16 vector registers of a processor with AVX2.
ROWS, LANES, VECTORS = 6, 8, 2
COLUMNS = LANES * VECTORS

_NUMBERS = ir.VectorType(ir.FloatType(), LANES)
_WORD = ir.IntType(64)


@intrinsic
def multiply_tile(_: Any, rows: Any, columns: Any, limits: Any, out: Any) -> Any:
    """out [ROWS, COLUMNS] = rows^T columns, for `rows` [H, ROWS] and `columns` [H, COLUMNS]; returns where a limit is exceeded.

    All arrays are float32 and contiguous, H is at least 1. Bit r of the result says whether an element of row r of `out` is
    above limits[r], float32 [ROWS].
    """
    return types.int64(rows, columns, limits, out), _generate_tile


def _generate_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The code of `multiply_tile`. numba has no type for vectors, so it is written in LLVM's language."""
    arrays = [context.make_array(kind)(context, builder, value) for kind, value in zip(signature.args, arguments, strict=True)]
    rows, columns, limits, out = (array.data for array in arrays)
    height = cgutils.unpack_tuple(builder, arrays[0].shape)[0]
    kind = ir.FunctionType(_NUMBERS, [_NUMBERS] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    start, loop, end = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    h = builder.phi(_WORD)
    sums = [builder.phi(_NUMBERS) for _ in range(ROWS * VECTORS)]
    at = builder.mul(h, _word(COLUMNS))
    right = [builder.load(_vector_at(builder, columns, builder.add(at, _word(LANES * v))), align=4) for v in range(VECTORS)]
    added = []
    for row in range(ROWS):
        place = builder.add(builder.mul(h, _word(ROWS)), _word(row))
        left = _repeated(builder, builder.load(builder.gep(rows, [place])))
        added += [builder.call(multiply_add, [left, right[v], sums[row * VECTORS + v]]) for v in range(VECTORS)]
    following = builder.add(h, _word(1))
    zero = ir.Constant(_NUMBERS, [0.0] * LANES)
    for phi, first, later in [(h, _word(0), following), *((phi, zero, later) for phi, later in zip(sums, added, strict=True))]:
        phi.add_incoming(first, start)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, height), loop, end)
    builder.position_at_end(end)
    exceeded = _word(0)
    for row in range(ROWS):
        limit, above = _repeated(builder, builder.load(builder.gep(limits, [_word(row)]))), []
        for v, numbers in enumerate(added[row * VECTORS : (row + 1) * VECTORS]):
            builder.store(numbers, _vector_at(builder, out, _word(row * COLUMNS + LANES * v)), align=4)
            above.append(builder.bitcast(builder.fcmp_ordered(">", numbers, limit), ir.IntType(LANES)))
        found = above[0]
        for other in above[1:]:
            found = builder.or_(found, other)
        bit = builder.zext(builder.icmp_unsigned("!=", found, ir.Constant(ir.IntType(LANES), 0)), _WORD)
        exceeded = builder.or_(exceeded, builder.shl(bit, _word(row)))
    return exceeded


def _word(value: int) -> ir.Constant:
    return ir.Constant(_WORD, value)


def _vector_at(builder: Any, data: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(data, [place]), _NUMBERS.as_pointer())


def _repeated(builder: Any, number: Any) -> Any:
    """A vector of equal numbers."""
    undefined, first = ir.Constant(_NUMBERS, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(undefined, number, first)
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


@compiled()
def packed_rows(matrix: Any, start: int, end: int) -> Any:
    """Rows start to end of a float32 matrix [B, H] in groups of ROWS: [G, H, ROWS], filled up with zeros."""
    packed = np.zeros(((end - start + ROWS - 1) // ROWS, matrix.shape[1], ROWS), np.float32)
    for row in range(start, end):
        for h in range(matrix.shape[1]):  # a loop here and in other kernels: slices of two dimensions take seconds to compile
            packed[(row - start) // ROWS, h, (row - start) % ROWS] = matrix[row, h]
    return packed
