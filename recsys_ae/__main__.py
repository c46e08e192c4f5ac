"""The entry point of the command `recsys-ae`, also as `python -m recsys_ae`."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

code = 1  # of this process


def main() -> NoReturn:
    """Run the command line; an interruption during its import is handled too."""
    global code
    atexit.register(_end)  # called last, because it is registered first
    try:
        from recsys_ae.cli import main

        main()
    except SystemExit as error:
        code = int(error.code or 0)
        raise
    except KeyboardInterrupt:
        code = 130
        print("recsys-ae: interrupted", file=sys.stderr)
        sys.exit(code)


def _end() -> None:
    """End the process. Python would take all modules apart first, which takes one to three seconds if one is PyTorch."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
