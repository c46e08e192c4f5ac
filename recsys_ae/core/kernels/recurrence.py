"""The gated recurrent unit over many sequences, each from its own initial state; see `core.recurrence` for the equations.

Sequences run in parallel, each one event at a time. The recurrent weights are small enough to stay in the cache, and no
sequence waits for a longer one.
"""

from math import exp
from typing import Any

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST


@compiled(fastmath=FAST)
def _add_product(vector: Any, weight: Any, out: Any) -> None:
    """out += vector @ weight; vector [K], weight [K, J]."""
    k = 0
    while k + 4 <= len(vector):  # four at a time: `out` is read and written a quarter as often
        v0, v1, v2, v3 = vector[k], vector[k + 1], vector[k + 2], vector[k + 3]
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for j in range(len(out)):
            out[j] += v0 * w0[j] + v1 * w1[j] + v2 * w2[j] + v3 * w3[j]
        k += 4
    while k < len(vector):
        value, row = vector[k], weight[k]
        for j in range(len(out)):
            out[j] += value * row[j]
        k += 1


@compiled(fastmath=FAST)
def _sigmoid(x: Any) -> Any:
    return np.float32(1) / (np.float32(1) + np.float32(exp(-x)))


@compiled(fastmath=FAST)
def _tanh(x: Any) -> Any:
    return np.float32(2) * _sigmoid(np.float32(2) * x) - np.float32(1)


@compiled(parallel=True, fastmath=FAST)
def states(starts: Any, inputs: Any, initial: Any, weight: Any, bias: Any, gates: Any, out: Any) -> None:
    """Fill `out` [E, H] with the state after each event, and `gates` [E, 4H] with r, z, n and h @ W_n + b before it.

    Args:
        starts: int64 [S + 1]; the events of sequence s are those from starts[s] to starts[s + 1].
        inputs: [E, 3H]; initial: [S, H]; weight: [H, 3H]; bias: [H].
    """
    size = len(bias)
    for s in prange(len(starts) - 1):
        before = initial[s]
        for e in range(starts[s], starts[s + 1]):
            gate, after = gates[e], out[e]
            gate[: 2 * size] = inputs[e, : 2 * size]
            gate[2 * size : 3 * size] = bias
            _add_product(before, weight, gate[: 3 * size])
            for j in range(size):
                product = gate[2 * size + j]
                gate[3 * size + j] = product
                gate[j] = reset = _sigmoid(gate[j])
                gate[size + j] = kept = _sigmoid(gate[size + j])
                gate[2 * size + j] = new = _tanh(inputs[e, 2 * size + j] + reset * product)
                after[j] = new + kept * (before[j] - new)
            before = after


@compiled(parallel=True, fastmath=FAST)
def gradients(
    starts: Any, gates: Any, initial: Any, out: Any, back: Any, of_out: Any, of_inputs: Any, of_products: Any, carried: Any
) -> None:
    """Gradients of the inputs [E, 3H], of the products h @ weight [E, 3H] and of `initial` (`carried` [S, H]).

    Args:
        gates, out: filled by `states`; of_out: the gradient of `out` [E, H]; back: weight^T [3H, H].
    """
    size = out.shape[1]
    one = np.float32(1)
    for s in prange(len(starts) - 1):
        carry = carried[s]
        carry[:] = 0
        for e in range(starts[s + 1] - 1, starts[s] - 1, -1):
            gate, of_input, of_product = gates[e], of_inputs[e], of_products[e]
            before = initial[s] if e == starts[s] else out[e - 1]
            for j in range(size):
                reset, kept, new, product = gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j]
                of_state = of_out[e, j] + carry[j]
                of_new = of_state * (one - kept) * (one - new * new)
                of_input[j] = of_product[j] = of_new * product * reset * (one - reset)
                of_input[size + j] = of_product[size + j] = of_state * (before[j] - new) * kept * (one - kept)
                of_input[2 * size + j] = of_new
                of_product[2 * size + j] = of_new * reset
                carry[j] = of_state * kept
            _add_product(of_product, back, carry)
