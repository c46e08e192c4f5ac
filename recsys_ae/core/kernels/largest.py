"""The largest of some numbers, in place and without sorting them."""

from typing import Any

from recsys_ae.core.kernels.compiled import compiled


@compiled()
def move_largest(numbers: Any, k: int) -> None:
    """Move the k largest numbers to the front, in no particular order, and the smallest of these to place k - 1.

    This is Hoare's selection. `np.partition` does the same, but takes seconds to compile for each type of numbers.
    """
    left, right = 0, len(numbers) - 1
    while left < right:
        a, b, c = numbers[left], numbers[(left + right) // 2], numbers[right]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while numbers[i] > pivot:
                i += 1
            while numbers[j] < pivot:
                j -= 1
            if i <= j:
                numbers[i], numbers[j] = numbers[j], numbers[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            right = j
        elif k - 1 >= i:
            left = i
        else:
            break
