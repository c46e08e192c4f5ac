"""The entry point of the command `recsys-ae`, also as `python -m recsys_ae`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an interruption during its import is handled too."""
    try:
        from recsys_ae.cli import main
    except KeyboardInterrupt:
        print("recsys-ae: interrupted", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    main()
