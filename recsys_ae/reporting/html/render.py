"""Pages as HTML. All texts are escaped by the template engine, and the data of the script is JSON without markup.

A content security policy lets the page run its own two scripts, known by their hashes, and nothing else: no script in a text,
no request to anywhere.
"""

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

import recsys_ae
from recsys_ae.reporting.html.blocks import Charts, Page
from recsys_ae.reporting.html.charts import colour_of
from recsys_ae.reporting.html.drawing import drawn
from recsys_ae.reporting.html.facts import CloserLook, RunFiles
from recsys_ae.reporting.html.model_part import data_uri
from recsys_ae.reporting.html.run import run_content
from recsys_ae.reporting.results import RunReport

PARTS = ("page.html", "page.css", "page.js", "theme.js")
UNSAFE = str.maketrans({one: f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"})


def run_page(report: RunReport, look: CloserLook, own: RunFiles) -> str:
    """The page of a run; the same for the same arguments."""
    return rendered(run_content(report, look, own))


def rendered(page: Page) -> str:
    """A page as HTML."""
    texts = _parts()
    scripts = {name: Markup(texts[name]) for name in ("page.js", "theme.js")}  # part of this package
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src "
    allowed = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts.values())
    known: dict[str, Any] = {"style": Markup(texts["page.css"]), "scripts": scripts, "policy": policy + allowed}
    charts = [
        chart for section in page.sections for block in section.blocks if isinstance(block, Charts) for chart in block.charts
    ]
    drawings = dict(zip(map(id, charts), drawn([chart.spec for chart in charts]), strict=True))
    known |= {"page": page, "version": recsys_ae.__version__, "drawing": lambda chart: drawings[id(chart)]}
    return _environment().get_template("page.html").render(known).lstrip()


def as_json(value: Any) -> Markup:
    """JSON that may stand within a script element: no character of it has a meaning in HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(UNSAFE))


@cache
def _parts() -> dict[str, str]:
    """The template, the style sheet and the scripts."""
    return {name: files(__package__).joinpath(name).read_text(encoding="utf-8") for name in PARTS}


@cache
def _environment() -> Environment:
    known = Environment(
        loader=DictLoader(_parts()), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    known.filters |= {"json": as_json, "data_uri": data_uri, "colour": colour_of}
    return known
