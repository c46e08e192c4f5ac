"""The site has every page, every public name, and a current table of contents for language models."""

import re
import runpy
from pathlib import Path

import recsys_ae

ROOT = Path(__file__).parents[2]
SITE = runpy.run_path(str(ROOT / "docs/site.py"))


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == written | set(SITE["PAGES"])


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    documented = {place.rsplit(".", 1)[1] for place in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}
    assert set(recsys_ae.__all__) <= documented


def test_llms_txt_is_current():
    """If this fails: python docs/site.py."""
    assert (ROOT / "docs/llms.txt").read_text(encoding="utf-8") == SITE["llms"]()


def test_the_picture_is_current():
    """If this fails: python docs/picture.py."""
    drawn = runpy.run_path(str(ROOT / "docs/picture.py"))["picture"]()
    assert (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8") == drawn


def test_links_of_pages_from_the_top_level_are_rewritten():
    text = "[a](docs/export.md#rules) ![b](docs/images/report.png) [c](CONTRIBUTING.md) [d](LICENSE) [e](https://a.b) [f](#x)"
    assert SITE["from_top"](text) == (
        "[a](export.md#rules) ![b](images/report.png) [c](contributing.md) d [e](https://a.b) [f](#x)"
    )
    assert SITE["on_page_markdown"]("[a](../datasets/mnist.yaml) [b](../README.md#install) [c](team.md)") == (
        "a [b](index.md#install) [c](team.md)"
    )


CITATION = re.compile(r"\b([A-Z]\w+)(?: et al\.|(?:, [A-Z][\w-]+)*,? (?:&|and) [A-Z][\w-]+)?,? \(?((?:19|20)\d\d)\b")
NOT_PAPERS = {"Yelp", "MovieLens", "November", "Challenge", "LensKit"}


def test_the_bibliography_has_every_paper_that_a_docstring_cites():
    entries = (ROOT / "docs/bibliography.md").read_text(encoding="utf-8")
    known = {(name, year) for name, year in re.findall(r"^- \*\*(\w+)[^*]*? (\d{4})\.\*\*", entries, re.MULTILINE)}
    cited = set()
    for path in [*(ROOT / "recsys_ae").rglob("*.py"), *(ROOT / "docs").glob("*.md")]:
        if path.name == "bibliography.md":
            continue
        text = re.sub(r"\s*\n\s*#?\s*", " ", path.read_text(encoding="utf-8"))
        cited |= {found for found in CITATION.findall(text) if found[0] not in NOT_PAPERS}
    assert cited - known == set()
    assert {name for name, _ in known} <= {name for name, _ in cited} | {"Han"}  # which a card cites
    assert [line for line in entries.splitlines() if line.startswith("- ")] == sorted(
        (line for line in entries.splitlines() if line.startswith("- ")),
        key=lambda line: line.split()[1].strip("*,").casefold(),
    )
