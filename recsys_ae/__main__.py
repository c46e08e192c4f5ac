"""The entry point of the command `recsys-ae`, also as `python -m recsys_ae`."""

import atexit
import sys
from typing import NoReturn

from recsys_ae.exits import INTERRUPTED, end


def main() -> NoReturn:
    """Run the command line; an interruption during its import is handled too."""
    try:
        from recsys_ae.cli import main
    except KeyboardInterrupt:
        print("recsys-ae: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    main()


def start() -> NoReturn:
    """Run the command line in a process of its own.

    At the end, Python would take all modules apart, which takes one to three seconds if one is PyTorch. So the process ends at
    once when all handlers have run that were registered later than this one.
    """
    code = 1
    atexit.register(lambda: end(code))
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else code
        raise


if __name__ == "__main__":
    start()
