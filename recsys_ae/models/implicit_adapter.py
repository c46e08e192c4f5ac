"""Fitting the models of the library `implicit`."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import Floats


def fit_with_implicit(kind: Any, train: Interactions, start: Mapping[str, Floats] | None = None, **options: Any) -> Any:
    """A model of class `kind`, fitted to binary interactions from the factors in `start`.

    It shows no progress bar and uses no BLAS threads inside its own threads. Its warnings are suppressed: they are about
    conversions that it makes itself.
    """
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(**options)
        for name, factors in (start or {}).items():
            setattr(model, name, factors)
        model.fit(csr_matrix(ones(train.matrix), dtype=np.float32), show_progress=False)
    return model
