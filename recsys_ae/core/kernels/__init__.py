"""Compiled loops over sparse rows, for the CPU.

They read and write NumPy views of tensors. Rows or columns are distributed over threads, and each is summed in the order of
its entries by one thread, so results do not depend on the number of threads.

B rows in a batch with nnz entries, D columns, H units. The CSR arrays of a batch are `indptr` [B + 1], `columns` [nnz] and
`values` [nnz]. Arrays that belong together come as named tuples. A kernel unpacks them first: numba removes assignments
to elements of an array that it finds as an attribute inside a parallel loop.
"""
