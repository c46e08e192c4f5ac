import re

import numpy as np
import pandas as pd
import pytest

from recsys_ae import Interactions, times
from recsys_ae.errors import ConfigError
from recsys_ae.times import microseconds, moment


class TestTimes:
    MOMENTS = pd.to_datetime(["2014-04-07 10:51:09.200", "2014-04-07 10:51:09.000", "2014-04-07 10:51:09.100"])
    MICROSECONDS = (1396867869000000, 1396867869100000, 1396867869200000)

    @pytest.mark.parametrize(
        ("times", "unit"),
        [
            (MOMENTS, "s"),
            (MOMENTS.as_unit("ms"), "s"),
            (MOMENTS.as_unit("ns"), "s"),
            (MOMENTS.tz_localize("UTC").tz_convert("Asia/Tokyo"), "s"),
            (pd.array(MOMENTS, dtype="timestamp[us][pyarrow]"), "s"),
            (["2014-04-07T10:51:09.200Z", "2014-04-07T12:51:09+02:00", "2014-04-07 10:51:09.1"], "s"),
            (list(MOMENTS.to_pydatetime()), "s"),
            ([1396867869.2, 1396867869, 1396867869.1], "s"),
            ([1396867869200, 1396867869000, 1396867869100], "ms"),
            (pd.array([1396867869200, 1396867869000, 1396867869100], dtype="Int64"), "ms"),
            ([1396867869200000, 1396867869000000, 1396867869100000], "us"),
            ([1396867869200000999, 1396867869000000000, 1396867869100000000], "ns"),
        ],
    )
    def test_every_form_becomes_microseconds(self, times, unit):
        frame = pd.DataFrame({"user_id": 1, "item_id": [3, 1, 2], "t": times})
        data = Interactions.from_frame(frame, rating=None, time="t", time_unit=unit)
        assert data.log.times.tolist() == list(self.MICROSECONDS)
        assert data.items.values[data.log.items].tolist() == [1, 2, 3]

    def test_texts_with_and_without_time_zones_with_pandas_2(self, monkeypatch):
        """Which would give the second text the zone of the first."""
        monkeypatch.setattr(times, "PANDAS_2", True)
        texts = pd.Series(["2014-04-07T12:51:09+02:00", "2014-04-07 10:51:09.1", "2014-04-07", "x"])
        values, bad = times.instants(texts)
        assert values[:3].tolist() == [1396867869000000, 1396867869100000, 1396828800000000]
        assert bad.tolist() == [False, False, False, True]

    def test_times_before_1970(self):
        assert microseconds(pd.Series(["1969-12-31T23:59:59.5"])).tolist() == [-500_000]
        assert microseconds(pd.Series([-0.5])).tolist() == [-500_000]

    @pytest.mark.parametrize(
        ("numbers", "warned"),
        [
            ([20240131, 20231201], True),
            ([20240131.0], True),
            ([20240131, 20240132], False),  # no day has the number 32
            ([20240131, 1396867869], False),
            ([19_000_000, 20_000_000], False),
            ([20240131.5], False),
            ([], False),
        ],
    )
    def test_numbers_that_look_like_dates_are_reported(self, caplog, numbers, warned):
        found = microseconds(pd.Series(numbers, dtype=None if numbers else "int64"))
        assert found.tolist() == [1_000_000 * number for number in numbers]
        assert ("look like dates, but are read as seconds since 1970" in caplog.text) == warned

    @pytest.mark.parametrize(
        ("numbers", "warned"),
        [
            ([44927, 45000], True),
            ([44927.75], True),
            ([np.nan, 44927.75], True),  # a missing time is another fault
            ([20_000, 80_000], True),
            ([19_999, 44927], False),
            ([44927, 80_001], False),
            ([np.nan], False),
        ],
    )
    def test_day_numbers_of_a_spreadsheet_are_reported(self, caplog, numbers, warned):
        found, bad = times.instants(pd.Series(numbers))
        assert found.tolist() == [0 if np.isnan(number) else 1_000_000 * number for number in numbers]
        assert bad.tolist() == [bool(np.isnan(number)) for number in numbers]
        assert ("look like day numbers of Excel, but are read as seconds since 1970" in caplog.text) == warned

    def test_the_way_out_of_day_numbers_gives_their_dates(self, caplog):
        microseconds(pd.Series([44927.5]))
        call = re.search(r"pandas\.(to_datetime)\(times, (.*)\)", caplog.text)[2]
        options = dict(re.findall(r"(\w+)='(\S+)'", call))
        assert pd.to_datetime(pd.Series([44927.5]), **options).tolist() == [pd.Timestamp("2023-01-01 12:00")]

    @pytest.mark.parametrize("at", ["2014-04-07", "2014-04-07T02:00+02:00", 1396828800, 1396828800.0])
    def test_moments(self, at):
        assert moment(at) == 1396828800000000

    @pytest.mark.parametrize("at", ["soon", float("nan"), 1e12, ""])
    def test_no_moments(self, at):
        with pytest.raises(ConfigError, match="ISO 8601 text, such as 2024-12-31, or as seconds"):
            moment(at)
