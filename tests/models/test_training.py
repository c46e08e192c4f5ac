import numpy as np
import pandas as pd

from recsys_ae import Interactions
from recsys_ae.models.training import ranking_validation


def test_repeats_in_the_validation_part_are_not_relevant():
    """User 1 has items a and b, then c and b; item c ranks first in every list without seen items."""
    frame = pd.DataFrame({"user_id": [1, 1, 2, 1, 1], "item_id": list("abacb"), "time": np.arange(5)})
    data = Interactions.from_frame(frame, rating=None, time="time", duplicates="sum")
    train, valid = (data.with_events(data.log[part]) for part in (slice(0, 3), slice(3, 5)))

    def scores(history, rows):
        return np.tile(np.array([3, 2, 1], np.float32), (len(rows), 1))

    assert ranking_validation(scores, train, valid)() == 0
    assert ranking_validation(scores, train, train) is None
