"""Vega-Lite specifications as SVG.

vl-convert runs in a process of its own, because it contains a JavaScript engine, which takes memory that a run may need, and
whose failure would end the process.
"""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

PATIENCE = 120.0  # seconds for all charts of a page
HEAD = re.compile(r'^<svg [^>]*?width="([\d.]+)" height="([\d.]+)"[^>]*>')
UNUSED = re.compile(r' (?:aria-(?:hidden|roledescription)|role|pointer-events|class)="[^"]*"(?=[^<]*>)')

logger = logging.getLogger(__name__)


def drawn(specs: Sequence[dict[str, Any]]) -> list[Markup | None]:
    """Each chart as SVG to be put into a page, with the texts in it escaped by Vega; None for a chart that cannot be drawn."""
    if not specs:
        return []
    given = "".join(json.dumps(spec) + "\n" for spec in specs)
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False)
        found, problem = [json.loads(line) for line in done.stdout.splitlines() if line.endswith("}")], done.stderr.strip()
    except (OSError, subprocess.SubprocessError) as error:
        found, problem = [], str(error)
    found += [{"problem": problem}] * (len(specs) - len(found))
    if problems := [one["problem"] for one in found if "problem" in one]:
        what = problems[0].splitlines()[-1] if problems[0] else "the process ended early"
        logger.warning("%d of %d charts cannot be drawn, and are only tables: %s", len(problems), len(specs), what)
    return [_for_page(one["svg"]) if "svg" in one else None for one in found]


def _for_page(svg: str) -> Markup:
    """SVG that takes the width it is given, and only says what its marks say."""
    return Markup(UNUSED.sub("", HEAD.sub(r'<svg viewBox="0 0 \1 \2" aria-hidden="true">', svg)))


def _convert() -> None:
    """Read a specification from each line of the input, and write a line with its SVG, or with the problem."""
    import vl_convert  # heavy

    for line in sys.stdin:
        try:
            result = {"svg": vl_convert.vegalite_to_svg(line)}
        except ValueError as error:
            result = {"problem": str(error)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    _convert()
