import numpy as np
import pytest
from scipy import stats

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.uncertainty.repetitions import over_repetitions


class TestOverRepetitions:
    def test_independent(self):
        values = [0.21, 0.2, 0.23, 0.22]
        found, wanted = over_repetitions(values, level=0.9), stats.ttest_1samp(values, 0)
        assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.9)))
        assert found.p_value == pytest.approx(wanted.pvalue)
        assert (found.n, found.mean, found.deviation) == (4, pytest.approx(0.215), pytest.approx(np.std(values, ddof=1)))

    def test_overlapping(self):
        """Nadeau and Bengio 2003: t = mean / sqrt((1/n + n_test/n_train) variance), here of five folds."""
        values = np.array([0.01, 0.03, 0.02, 0.04, 0.01])
        found = over_repetitions(values, test_to_train=0.25)
        error = np.sqrt((0.2 + 0.25) * values.var(ddof=1))
        assert found.p_value == pytest.approx(2 * stats.t.sf(values.mean() / error, 4))
        assert found.interval[1] - found.mean == pytest.approx(stats.t.ppf(0.975, 4) * error)

    def test_too_few_or_equal(self):
        one, equal = over_repetitions([0.3]), over_repetitions([0.3, 0.1 + 0.2])
        assert (one.n, one.mean, one.deviation, one.interval, one.p_value) == (1, 0.3, None, None, None)
        assert (equal.deviation, equal.interval, equal.p_value) == (0, (equal.mean, equal.mean), None)
        assert over_repetitions([0.0, 0.0]).interval == (0, 0)

    def test_errors(self):
        with pytest.raises(ConfigError, match="level 95"):
            over_repetitions([1, 2], level=95)
        with pytest.raises(ConfigError, match="test_to_train -1"):
            over_repetitions([1, 2], test_to_train=-1)
        for values in ([], [np.nan, 1], [[1, 2]]):
            with pytest.raises(DataError, match="finite values"):
                over_repetitions(values)
