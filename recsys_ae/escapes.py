"""Text in Markdown."""

import re

MARKS = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def as_markdown(text: str) -> str:
    r"""Markdown that shows a text as it is, within a line.

    >>> print(as_markdown("*a_b* | <img src=x> < &lt;"))
    \*a_b\* \| &lt;img src=x> < &amp;lt;
    """
    return MARKS.sub(r"\\\g<0>", HTML.sub(lambda found: {"<": "&lt;", "&": "&amp;"}[found[0]], text))
