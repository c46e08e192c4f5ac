"""The code blocks of a page, and how each is run.

HTML comments directly above a block, invisible on the site, say what is special about it:

    <!-- shown: REASON -->              it is not run, because of this
    <!-- shown on this page: REASON --> no block of sh below is run, because of this
    <!-- skip: PREFIX: REASON -->       lines that begin with this are not run
    <!-- instead: OLD => NEW -->        what is run instead of a text: a smaller size, an id that exists
    <!-- given: NAMES -->               names, known from the text, that a block of Python starts from
    <!-- file: NAME -->                 it is the content of this file

A block of YAML with the name of a file in a comment on its first line is also written to that file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("sh", "yaml", "python")
KINDS = ("shown", "shown on this page", "skip", "instead", "given", "file")
MARK = re.compile(r"<!-- ([a-z ]+): (.+?) -->")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first fence, from 1
    language: str
    text: str
    marks: tuple[tuple[str, str], ...]

    def marked(self, kind: str) -> list[str]:
        return [value for name, value in self.marks if name == kind]

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"

    @property
    def shown_only(self) -> bool:
        return bool(self.marked("shown")) or (self.language == "sh" and bool(self.marked("shown on this page")))

    @property
    def file(self) -> str | None:
        """The file that it is the content of."""
        named = re.match(r"# (\S+\.yaml)\n", self.text) if self.language == "yaml" else None
        return named[1] if named else next(iter(self.marked("file")), None)

    def to_run(self, values: dict[str, str]) -> str:
        """Its text as it is run; `values` are those of the words that begin with $ in replacements."""
        text = self.text
        for change in self.marked("instead"):
            old, arrow, new = change.partition(" => ")
            assert arrow, f"{self.place}: {change!r} has no =>"
            assert old in text, f"{self.place}: {old!r} is not in the block"
            for word, value in values.items():
                new = new.replace(word, value)
            text = text.replace(old, new)
        return text

    def commands(self, text: str) -> Iterator[str]:
        """The commands of a text of sh, each as one line, without those that are skipped."""
        skipped = [prefix for prefix, _, reason in (mark.rpartition(": ") for mark in self.marked("skip"))]
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            if line.strip() and not line.startswith(("#", *skipped)):
                yield line


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, marks, general, opened = [], list[tuple[str, str]](), list[tuple[str, str]](), None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if opened is None:
                opened = number
                continue
            language, text = lines[opened - 1][3:].strip(), "\n".join(lines[opened : number - 1]) + "\n"
            found.append(Block(page, opened, language, text, (*general, *marks)))
            opened, marks = None, []
        elif opened is None and (mark := MARK.fullmatch(line)):
            kept = general if mark[1] == "shown on this page" else marks
            kept.append((mark[1], mark[2]))
        elif opened is None and line:
            marks = []
    return found
