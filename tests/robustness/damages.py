"""Damage to the content of a file: bits, bytes, tokens, lines, and the structure of JSON and YAML."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

NUMBERS = [
    "",
    "0",
    "-1",
    "-0",
    "007",
    "+7",
    "1e39",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "9" * 30,
    str(2**63),
    "1.5",
    "0x10",
    "1_0",
    "\u0661",
]
TOKENS = [
    *NUMBERS,
    '"',
    "'",
    '""',
    ",",
    "\t",
    "::",
    ";",
    "\0",
    "\r",
    "\n",
    "\ufeff",
    "\u00e9",
    "\U0001f600",
    "\ud7ff",
    "null",
    "true",
    "~",
    "x" * 5000,
]
TOKENS += [
    "[",
    "{",
    "&a",
    "*a",
    "!!python/name:os.system",
    "<<",
    "%",
    "#",
    "2001-99-99",
    "\\ud800",
    "../x",
    " 7",
    "7 ",
    "-",
    "|",
]
TOKEN = re.compile(rb'[^,\t:;\s"{}\[\]]+')


def flip(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = _place(len(damaged), chance)
        damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _place(size: int, chance: random.Random) -> int:
    """A position; half of the time near the beginning or the end, where formats keep their structure."""
    near = min(size, 256)
    return chance.choice(
        (chance.randrange(size), chance.randrange(size), chance.randrange(near), size - 1 - chance.randrange(near))
    )


def insert(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    return content[:at] + bytes(chance.randrange(256) for _ in range(chance.choice((1, 1, 4, 64)))) + content[at:]


def delete(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    return content[:at] + content[at + chance.choice((1, 1, 4, 64)) :]


def duplicate(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    part = content[at : at + chance.choice((1, 8, 64, 512))]
    return content[:at] + part + content[at:]


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: _place(len(content), chance)]


def blank(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    part = content[at : at + chance.choice((1, 8, 64))]
    return content[:at] + bytes([chance.choice((0, 255))]) * len(part) + content[at + len(part) :]


def substitute(content: bytes, chance: random.Random) -> bytes:
    """Another token in the place of one."""
    found = list(TOKEN.finditer(content))
    if not found:
        return insert(content, chance)
    token = chance.choice(found)
    return content[: token.start()] + chance.choice(TOKENS).encode("utf-8", "surrogatepass") + content[token.end() :]


def separate(content: bytes, chance: random.Random) -> bytes:
    """A separator or quotation mark more, less, or of another kind."""
    marks = [at for at, byte in enumerate(content) if byte in b',\t:;"\n{}[]-']
    at = chance.choice(marks) if marks else 0
    return (
        content[:at]
        + chance.choice((b"", b'"', b",", b"\t", b"::", b"\n", b"\r", b'""', b";"))
        + content[at + chance.randrange(2) :]
    )


def shuffle_lines(content: bytes, chance: random.Random) -> bytes:
    """Two lines swapped, one repeated, or one left out."""
    found = content.split(b"\n")
    one, other = chance.randrange(len(found)), chance.randrange(len(found))
    match chance.randrange(3):
        case 0:
            found[one], found[other] = found[other], found[one]
        case 1:
            found.insert(other, found[one])
        case _:
            del found[one]
    return b"\n".join(found)


VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    2**70,
    "",
    "x",
    "x" * 2000,
    [],
    {},
    [[]],
    {"a": {}},
    "../../x",
    "\u00e9",
    float("nan"),
    float("inf"),
]


def restructure(value: Any, chance: random.Random) -> Any:
    """A tree of mappings and lists with one node replaced, removed, repeated, wrapped or moved."""
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, below in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            nodes.append((node, key))
            walk(below)

    walk(value)
    if not nodes:
        return chance.choice(VALUES)
    parent, key = chance.choice(nodes)
    match chance.randrange(6):
        case 0 | 1:
            parent[key] = chance.choice(VALUES)
        case 2:
            del parent[key]
        case 3:
            parent[key] = [parent[key]]
        case 4 if isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        case 5:
            other, place = chance.choice(nodes)
            if place in other if isinstance(other, dict) else place < len(other):
                parent[key] = json.loads(json.dumps(other[place], default=str))
    return value


def in_json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(restructure(json.loads(content), chance)).encode()


def in_yaml(content: bytes, chance: random.Random) -> bytes:
    return yaml.safe_dump(restructure(yaml.safe_load(content), chance), sort_keys=False).encode()


BYTES = (flip, flip, flip, insert, delete, duplicate, truncate, blank)
TEXT = (*BYTES, substitute, substitute, substitute, separate, separate, shuffle_lines)
KINDS: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    ".json": (*TEXT, *[in_json] * 8),
    ".yaml": (*TEXT, *[in_yaml] * 8),
    **dict.fromkeys((".csv", ".tsv", ".dat", ".jsonl", ".txt"), TEXT),
}


def mutate(path: Path, chance: random.Random) -> bytes:
    """The mutated content of a file."""
    content = path.read_bytes()
    return chance.choice(KINDS.get(path.suffix, BYTES))(content, chance) if content else b"x"
