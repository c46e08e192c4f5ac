"""Names that pipelines may use, each mapped to the place of its code, which is imported when first asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from recsys_ae.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Registry:
    """A written-out table `name -> "module:attribute"`.

    Attributes:
        kind: what the names stand for, in messages ("model", "metric").
        places: where each name's code lives.
    """

    kind: str
    places: Mapping[str, str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def check(self, name: str) -> None:
        """Raise `ConfigError` if `name` is not in the table, without importing anything."""
        if name not in self.places:
            raise ConfigError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self.places)}")

    def get(self, name: str) -> Any:
        """The object called `name`; `ConfigError` with a suggestion if there is none."""
        self.check(name)
        module, attribute = self.places[name].split(":")
        return getattr(import_module(module), attribute)

    def name_of(self, instance: object) -> str:
        """The name under which the class of `instance` is in the table; `ConfigError` if it is not."""
        place = f"{type(instance).__module__}:{type(instance).__name__}"
        for name, known in self.places.items():
            if known == place:
                return name
        raise ConfigError(f"{type(instance).__name__} is not among the registered {self.kind}s ({', '.join(self.places)})")
