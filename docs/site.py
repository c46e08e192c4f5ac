"""Pages of the site that are made from other files, and `llms.txt`, its contents for language models.

MkDocs runs the hooks below. `python docs/site.py` writes `docs/llms.txt` anew.
"""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
PAGES = {  # page -> file at the top level
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages made from files at the top level."""
    from mkdocs.structure.files import File

    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=from_top((ROOT / source).read_text(encoding="utf-8"))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links out of `docs/` lead to a page of the site if there is one, and are plain text otherwise."""
    return LINK.sub(lambda found: _relinked(found, found[3][3:]) if found[3].startswith("../") else found[0], markdown)


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Stop the build if a page loads something from elsewhere, so that the site works without a network."""
    from mkdocs.exceptions import PluginError

    for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", output):
        if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag):
            raise PluginError(f"{page.file.src_uri} loads a file from elsewhere: {tag}")


def from_top(text: str) -> str:
    """The text of a file at the top level, with links that are valid in `docs/`."""
    return LINK.sub(lambda found: found[0] if ":" in found[3] or not found[3] else _relinked(found, found[3]), text)


def _relinked(found: "re.Match[str]", target: str) -> str:
    """A link to `target`, a path from the top level."""
    pages = {source: page for page, source in PAGES.items()}
    if target.startswith("docs/") or target in pages:
        return f"{found[1]}[{found[2]}]({pages.get(target) or target.removeprefix('docs/')}{found[4] or ''})"
    return found[2]


def llms() -> str:
    """The title, description and navigation of the site, with the first sentence of each page."""
    configuration = yaml.safe_load(re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    lines = [f"# {configuration['site_name']}", "", f"> {configuration['site_description']}"]
    for section in configuration["nav"]:
        ((title, entries),) = section.items()
        lines += ["", f"## {title}", "", *_entries(entries)]
    return "\n".join(lines) + "\n"


def _entries(entries: list[dict[str, Any]]) -> list[str]:
    found = []
    for entry in entries:
        ((title, target),) = entry.items()
        found += _entries(target) if isinstance(target, list) else [f"- [{title}]({target}): {_first_sentence(target)}"]
    return found


def _first_sentence(page: str) -> str:
    """The first sentence below the title of a page, as plain text."""
    text = (ROOT / PAGES[page] if page in PAGES else ROOT / "docs" / page).read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->|^```.*?^```$|^    .*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    prose = next(part for part in paragraphs if part and part[0] not in "#|-!:")
    plain = LINK.sub(lambda found: found[2], prose)
    return re.split(r"(?<=[.!?:])\s(?=[A-Z`])", plain, maxsplit=1)[0].rstrip(":")


if __name__ == "__main__":
    (ROOT / "docs/llms.txt").write_text(llms(), encoding="utf-8")
