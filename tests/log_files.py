"""Small files of tables, written and read by a test."""

from pathlib import Path

from recsys_ae.data.detection import guess_table
from recsys_ae.data.tables import read_table

HEADER = "user,item,rating\n"


def put(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def read(folder: Path, content: str | bytes, name: str = "x.csv", ids=None, **layout) -> dict[str, list]:
    path = put(folder, content, name)
    return read_table(path, guess_table(path, **layout), ids).to_dict("list")


def users(folder: Path, *ids: str) -> list:
    return read(folder, HEADER + "".join(f"{one},1,1\n" for one in ids))["user_id"]
