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


def test_links_of_pages_from_the_top_level_are_rewritten():
    text = "[a](docs/export.md#rules) ![b](docs/images/demo.svg) [c](CONTRIBUTING.md) [d](LICENSE) [e](https://a.b) [f](#x)"
    assert SITE["from_top"](text) == (
        "[a](export.md#rules) ![b](images/demo.svg) [c](contributing.md) d [e](https://a.b) [f](#x)"
    )
    assert SITE["on_page_markdown"]("[a](../datasets/mnist.yaml) [b](../README.md#install) [c](team.md)") == (
        "a [b](index.md#install) [c](team.md)"
    )
