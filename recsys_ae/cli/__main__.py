"""The command line as `python -m recsys_ae.cli`."""

from recsys_ae.cli import main

main()
