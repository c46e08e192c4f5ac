"""What a fit will cost, logged before it begins."""

import logging

from recsys_ae.limits import check_memory

logger = logging.getLogger(__name__)


def announce(what: str, needed: int, seconds: float, way_out: str) -> None:
    """Log the memory and time that a fit will take; `ConfigError` if the memory is not free."""
    check_memory(what, needed, way_out)
    duration = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    logger.info("%s: %.1f GB of memory, about %s", what, needed / 1e9, duration)
