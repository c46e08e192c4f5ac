"""What a fit will cost, logged before it begins."""

import logging
from math import ceil

from recsys_ae.limits import check_memory

NOTABLE_BYTES, NOTABLE_SECONDS = 1e8, 10  # a fit that takes less of both is not announced

logger = logging.getLogger(__name__)


def announce(what: str, needed: int, seconds: float, way_out: str) -> None:
    """Log the memory and time that a fit will take, unless both are small; `ConfigError` if the memory is not free."""
    check_memory(what, needed, way_out)
    if needed < NOTABLE_BYTES and seconds < NOTABLE_SECONDS:
        return
    memory = f"{needed / 1e9:.1f} GB" if needed >= 1e9 else f"{ceil(needed / 1e6)} MB"
    duration = f"{ceil(seconds)} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    logger.info("%s: %s of memory, about %s", what, memory, duration)
