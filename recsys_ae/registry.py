"""Tables of names that pipelines may use; the code behind a name is imported on first use."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from recsys_ae.errors import ConfigError, described, did_you_mean, quoted


@dataclass(frozen=True)
class Registry:
    """A table of names."""

    kind: str  # what the names stand for, in messages ("model", "metric")
    places: dict[str, str]  # name -> "module:attribute"

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def get(self, name: str) -> Any:
        """The object called `name`; `ConfigError` with a suggestion if there is none."""
        if not isinstance(name, str):
            raise ConfigError(f"a {self.kind} is given by name, got {described(name)}; known are: {', '.join(self.places)}")
        if name not in self.places:
            raise ConfigError(f"unknown {self.kind} {quoted(name)}; {did_you_mean(name, self.places)}")
        module, attribute = self.places[name].split(":")
        return getattr(import_module(module), attribute)

    def add(self, name: str, place: str) -> None:
        """Make code outside the package known in this process, by a new name; `ConfigError` if that is taken.

        `place` is "module:attribute"; the module must be importable.
        """
        if self.places.setdefault(name, place) != place:
            raise ConfigError(f"there is a {self.kind} {name!r} already ({self.places[name]}); choose another name")

    def name_of(self, instance: object) -> str:
        """The name of the class of `instance`; `ConfigError` if it is not registered."""
        kind = type(instance)
        for name, place in self.places.items():
            if place == f"{kind.__module__}:{kind.__name__}":
                return name
        raise ConfigError(f"{kind.__name__} is not among the registered {self.kind}s ({', '.join(self.places)})")
