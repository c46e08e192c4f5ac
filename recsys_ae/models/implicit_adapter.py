"""Fitting the models of the library `implicit`."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits


def fit_with_implicit(make: Callable[[], Any], user_items: csr_array) -> Any:
    """The model that `make` returns, fitted without a progress bar and without BLAS threads inside its own threads.

    Its warnings are suppressed: they are about conversions that it makes itself.
    """
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make()
        model.fit(csr_matrix(user_items, dtype=np.float32), show_progress=False)
    return model
