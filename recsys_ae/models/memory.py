"""Memory that a fit needs, checked before it is allocated."""

import logging
from pathlib import Path

from recsys_ae.errors import ConfigError

logger = logging.getLogger(__name__)


def available_memory() -> int | None:
    """Bytes that this process can still allocate, None where the system does not say (Linux does)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def check_memory(what: str, needed: int, seconds: float, way_out: str) -> None:
    """Log the bytes and seconds that a fit is about to take, before it allocates anything.

    Raises:
        ConfigError: not enough free memory; the message ends with the `way_out`.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise ConfigError(f"{what} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {way_out}")
    duration = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    logger.info("%s: %.1f GB of memory, about %s", what, needed / 1e9, duration)
