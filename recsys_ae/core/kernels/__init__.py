"""Compiled loops over sparse rows, for the CPU.

They read and write NumPy views of tensors. Each row or column is summed by one thread in the order of its entries, so results
do not depend on the number of threads.

B rows in a batch with nnz entries, D columns, H units. The CSR arrays of a batch are `indptr` [B + 1], `columns` [nnz] and
`values` [nnz]. Kernels unpack named tuples of arrays first, because numba drops assignments to elements of an array that is
an attribute inside a parallel loop. Those called from Python return nothing or a number: numba runs Python code to make an
array or a named tuple, and crashes if a signal's handler raises an exception in it, as Ctrl-C does.
"""
