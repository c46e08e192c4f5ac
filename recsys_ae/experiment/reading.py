"""What all kinds of pipeline files have in common: finding them, `--set`, datasets, seeds, labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from recsys_ae.data.cards import Card, read_card, shipped_cards
from recsys_ae.data.locations import declared_folder
from recsys_ae.declaration import Declared, parse_yaml, read_yaml, validate
from recsys_ae.errors import ConfigError, did_you_mean

Seed = Annotated[int, Field(ge=0)]


class TrackingSpec(Declared):
    experiment: str


def read_content(name_or_path: str, settings: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """What is in a pipeline file, or in the shipped one of that name, with `key=value` settings applied; and where it is."""
    path = _find(name_or_path)
    content = read_yaml(path)
    for setting in settings:
        _apply(content, setting)
    return content, path


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    shipped = {file.stem: file for file in declared_folder("pipelines").glob("*.yaml")}
    if path.is_file() or path.suffix or len(path.parts) > 1:
        if not path.is_file():
            raise ConfigError(f"there is no pipeline file {path}")
        return path
    if name_or_path not in shipped:
        raise ConfigError(f"unknown pipeline {name_or_path!r}; {did_you_mean(name_or_path, shipped)}")
    return shipped[name_or_path]


def _apply(content: dict[str, Any], setting: str) -> None:
    """Carry out one `a.b=value`; models are addressed by place (models.0.hidden) or by label or name."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set needs key=value, got {setting!r}")
    *parents, last = key.split(".")
    target: Any = content
    for parent in parents:
        target = _child(target, parent, setting)
    value = parse_yaml(text, f"--set {setting}")
    if isinstance(target, list):
        target[_place(target, last, setting)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise ConfigError(f"--set {setting}: {'.'.join(parents)!r} has no keys")


def _child(target: Any, key: str, setting: str) -> Any:
    if isinstance(target, list):
        return target[_place(target, key, setting)]
    if isinstance(target, dict):
        return target.setdefault(key, {})
    raise ConfigError(f"--set {setting}: there is nothing below {key!r}")


def _place(entries: list[Any], key: str, setting: str) -> int:
    names = [label_of(entry) if isinstance(entry, dict) else entry if isinstance(entry, str) else "" for entry in entries]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(entries):
        return int(key)
    there = ", ".join([*filter(None, names), f"0 to {len(names) - 1}"])
    raise ConfigError(f"--set {setting}: no entry {key!r}; there are {there}")


def dataset_of(declared: str | dict[str, Any], folder: Path, where: str) -> tuple[Any, Path, str | dict[str, Any]]:
    """The card, its folder, and a reference to it that is valid in any folder."""
    if isinstance(declared, dict):
        card = validate(Card, declared, f"{where}: dataset")
        has_files = hasattr(card, "folder")
        where_it_is = {"folder": str((folder / (card.folder or "")).absolute())} if has_files else {}
        return card, folder.absolute(), {**declared, **where_it_is}
    card, card_folder = read_card(declared, folder)
    path = (folder / declared).resolve()
    is_shipped = declared in shipped_cards() or path in [file.resolve() for file in shipped_cards().values()]
    return card, card_folder, Path(declared).stem if is_shipped else str(path)


def seeds_of(declared: int | list[int], where: str) -> list[int]:
    seeds = [declared] if isinstance(declared, int) else declared
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: seed: the same seed twice in {seeds}")
    return seeds


def label_of(entry: dict[str, Any]) -> str:
    """What a model is called in the results: its label, or its name and the words among its parameters (autorec-item)."""
    if entry.get("label") is not None:
        return str(entry["label"])
    words = [value for key, value in entry.items() if isinstance(value, str) and key not in ("name", "warm_start")]
    return "-".join([str(entry.get("name")), *words])


def validate_labels(labels: list[str], where: str) -> None:
    """Refuse labels that could not be names of folders, or are given twice."""
    for number, label in enumerate(labels):
        if not label.replace("-", "").replace("_", "").replace(".", "").isalnum() or label.startswith("."):
            raise ConfigError(f"{where}: models.{number}: label {label!r} may have letters, digits, '-', '_' and '.' only")
    if repeated := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"{where}: two models are called {repeated!r}; give one of them a label")
