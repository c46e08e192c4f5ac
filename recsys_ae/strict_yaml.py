"""YAML of plain values: text, numbers, dates, lists and mappings.

Nothing is executed. Aliases, other tags, repeated keys, large files and deep nesting are errors with line and column.
"""

from pathlib import Path
from typing import Any

import yaml

from recsys_ae.errors import ConfigError, quoted, shortened

FILE_BYTES, DEPTH = 256 * 1024, 32  # limits of a YAML file, and of its nesting
DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".gz", ".bz2", ".zst", ".zip", ".xls", ".xlsx")
USE_OF_DATA = (
    "a pipeline or card is a YAML file that names data files under `files`; only options such as --truth take these directly"
)
YAML_TAG = "tag:yaml.org,2002:"
KINDS = {"null": "null", "bool": "boolean", "int": "whole number", "float": "number", "str": "text", "timestamp": "date"}
KINDS |= {"seq": "list", "map": "mapping"}
NODES = {"seq": yaml.SequenceNode, "map": yaml.MappingNode}


class _Loader(yaml.SafeLoader):
    """SafeLoader of plain values that refuses repeated keys, of which YAML would silently keep the last."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):  # aliases of aliases grow without limit
            raise _problem(f"aliases are not supported; write out what *{shortened(str(event.anchor), 40)} stands for", event)
        if self.depth >= DEPTH:
            raise _problem(f"values are nested more than {DEPTH} levels deep", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        name = node.tag.removeprefix(YAML_TAG)
        text = quoted(node.value) if isinstance(node, yaml.ScalarNode) else "this value"
        if name not in KINDS:
            raise _problem(f"{text} has the unsupported type {shortened(name, 40)}; put quotes around it if it is text", node)
        try:
            if type(node) is not NODES.get(name, yaml.ScalarNode):
                raise TypeError
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise _problem(f"{text} is not a valid {KINDS[name]}; put quotes around it if it is text", node) from None
        if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            raise _problem(f"{text} contains a NUL or surrogate character, which no file or name can have", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, (str, int)):
                raise ConfigError(f"key {quoted(key)} is not a string (line {line})")
            if key in seen:
                raise ConfigError(f"duplicate key {quoted(key)} (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _problem(text: str, at: Any) -> yaml.MarkedYAMLError:
    """The error for an event or node that is valid YAML but not allowed here."""
    return yaml.constructor.ConstructorError(None, None, text, at.start_mark)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `ConfigError` with line and column if it is malformed."""
    try:
        return yaml.load(text, _Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{where}, line {line}: not a text file: it has the character #x{error.character:04x}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: not valid YAML: {shortened(str(error.problem), 200)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `ConfigError` if the file cannot be read or holds something else."""
    if path.suffix.lower() in DATA_ENDINGS:
        raise ConfigError(f"{path} looks like a data file, not a pipeline or card: {USE_OF_DATA}")
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > FILE_BYTES:
        raise ConfigError(
            f"{path} is too large for a card or pipeline: it has more than {FILE_BYTES // 1024} KiB; {USE_OF_DATA}"
        )
    try:
        value = parse_yaml(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text: it has the byte 0x{content[error.start]:02x}") from None
    if value is None:
        raise ConfigError(f"{path} is empty; it must hold a card or pipeline")
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values, got {quoted(value)}; {USE_OF_DATA}")
    return value
