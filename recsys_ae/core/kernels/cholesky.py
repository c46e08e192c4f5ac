"""Systems of linear equations, in float32."""

from typing import Any

import numpy as np

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST


@compiled(fastmath=FAST)
def solve_system(system: Any, least: Any, out: Any) -> None:
    """out [k] = A^-1 b by Cholesky factorisation; A is symmetric positive definite.

    `system`, of at least k rows and k + 1 columns, holds the upper triangle of A and, in column k, b; it is overwritten.
    `least` [k] are lower bounds of the squared pivots, which only rounding could violate.
    """
    k = len(out)
    for i in range(k):
        line = system[i][i : k + 1]
        p = 0
        while p + 4 <= i:  # four at a time: `line` is read and written a quarter as often
            v0, v1, v2, v3 = system[p, i], system[p + 1, i], system[p + 2, i], system[p + 3, i]
            r0, r1 = system[p][i : k + 1], system[p + 1][i : k + 1]
            r2, r3 = system[p + 2][i : k + 1], system[p + 3][i : k + 1]
            for j in range(len(line)):
                line[j] -= v0 * r0[j] + v1 * r1[j] + v2 * r2[j] + v3 * r3[j]
            p += 4
        while p < i:
            value, row = system[p, i], system[p][i : k + 1]
            for j in range(len(line)):
                line[j] -= value * row[j]
            p += 1
        by_pivot = np.float32(1) / np.sqrt(max(line[0], least[i]))
        for j in range(len(line)):
            line[j] *= by_pivot
        line[0] = by_pivot  # back substitution needs the inverse pivot
    for i in range(k - 1, -1, -1):
        total, row = system[i, k], system[i]
        for j in range(i + 1, k):
            total -= row[j] * out[j]
        out[i] = total * row[i]
