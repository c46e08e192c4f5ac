"""Draws `docs/images/architecture.svg`, the layers and the way of the data through them: python docs/picture.py"""

from html import escape
from pathlib import Path

LAYERS = [  # from the top; an upper one may import a lower one
    ["cli"],
    ["experiment"],
    ["export"],
    ["data", "splitting", "evaluation", "tracking", "reporting", "serving"],
    ["models", "images"],
    ["split, interactions, sequences, events, features", "core, ranking, fitted"],
    ["frames, ids, times, files, declaration, registry, errors, ..."],
]
WAY = ["card", "files", "Interactions", "Split", "fit", "scores", "lists", "report or export"]
WIDTH, ROW, GAP = 860, 34, 8
STYLE = """
text { font: 13px sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1a1a2e; }
rect { fill: #e8eaf6; stroke: #5c6bc0; }
.way { fill: #fff8e1; stroke: #ffa000; }
path { fill: none; stroke: #888; marker-end: url(#head); }
"""


def box(x: float, y: float, width: float, label: str, kind: str = "") -> str:
    """A box with a label."""
    shape = f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW}" rx="4"/>'
    return f'{shape}<text x="{x + width / 2:.1f}" y="{y + ROW / 2:.1f}">{escape(label)}</text>'


def row(y: float, labels: list[str], kind: str = "", gap: float = GAP) -> list[str]:
    """Boxes that fill the width, wide ones for long labels."""
    weights = [len(label) + 6 for label in labels]
    unit = (WIDTH - 2 * GAP - gap * (len(labels) - 1)) / sum(weights)
    found, x = [], float(GAP)
    for label, weight in zip(labels, weights, strict=True):
        found.append(box(x, y, weight * unit, label, kind))
        x += weight * unit + gap
    return found


def arrows(y: float, labels: list[str], gap: float) -> list[str]:
    """Arrows in the gaps of a row."""
    weights = [len(label) + 6 for label in labels]
    unit, x, found = (WIDTH - 2 * GAP - gap * (len(labels) - 1)) / sum(weights), float(GAP), []
    for weight in weights[:-1]:
        x += weight * unit
        found.append(f'<path d="M{x + 2:.1f} {y + ROW / 2:.1f}h{gap - 8:.1f}"/>')
        x += gap
    return found


def picture() -> str:
    """The picture as SVG."""
    parts = [*row(GAP, WAY, "way", 22), *arrows(GAP, WAY, 22)]
    for number, labels in enumerate(LAYERS):
        parts += row(2 * GAP + 16 + ROW + number * (ROW + GAP), labels)
    height = 2 * GAP + 16 + ROW + len(LAYERS) * (ROW + GAP)
    head = '<marker id="head" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
    marker = f'<defs>{head}<path d="M0 0L6 3L0 6z" style="fill:#888;stroke:none;marker-end:none"/></marker></defs>'
    title = "<title>The way of the data, and the layers of the package</title>"
    open_tag = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    background = f'<rect width="{WIDTH}" height="{height}" style="fill:#fff;stroke:none"/>'
    return "\n".join([open_tag, title, f"<style>{STYLE}</style>", marker, background, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "images/architecture.svg").write_text(picture(), encoding="utf-8")
