"""A few mutations of every reader's files; `--mutations 1000` tries more, and `benchmarks/fuzz.py` goes on for minutes."""

import collections

import pytest
from robustness.mutations import FAULTS, READERS, Bench

FEW = 30


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_refused_or_read_as_written(name, tmp_path, request):
    tries = request.config.getoption("--mutations") or max(2, FEW // READERS[name].cost)
    bench = Bench(name, tmp_path)
    found = [bench.attempt(number) for number in range(tries)]
    faults = [attempt for attempt in found if attempt.outcome in FAULTS]
    counts = collections.Counter(attempt.outcome for attempt in found)
    assert not faults, f"{dict(counts)}: {faults[:5]}"
    if READERS[name].cost == 1:  # what is unfinished may be done again instead
        assert counts["refused"], "nothing was refused: are the right files mutated?"
