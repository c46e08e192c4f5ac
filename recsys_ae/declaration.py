"""Strict reading of declarations: YAML files, `--set` values and parameters, checked against Python types.

Declarations are never executed. Unknown keys, repeated keys and values of the wrong type are errors that name their place.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import core_schema

from recsys_ae.errors import ConfigError, DataError, did_you_mean

T = TypeVar("T")


def as_sizes(value: Any) -> Any:
    """Layer sizes as a tuple; a single number is one layer."""
    return (value,) if isinstance(value, int) else tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation of a string that must be one of `names`, checked without importing what they stand for."""

    kind: str
    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names)}

    def _check(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self.names)}")
        return name


Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_sizes), Field(min_length=1)]


class Declared(BaseModel):
    """Base of everything that is read from YAML: unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, (str, int)):
                raise ConfigError(f"key {key!r} is not a string (line {line})")
            if key in seen:
                raise ConfigError(f"duplicate key {key!r} (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `ConfigError` with line and column if it is malformed."""
    try:
        return yaml.load(text, _Loader)
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{where}: not a text file: {error.reason} at position {error.position}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `ConfigError` if the file cannot be read or holds something else."""
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text file"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(value).__name__}")
    return value


def validate(kind: Any, value: Any, where: str) -> Any:
    """`value` as an instance of `kind`, a `Declared` model or any other annotation.

    Raises:
        ConfigError: unknown keys (with a suggestion), missing keys, wrong types; the message begins with `where` and the key.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(kind, item, where) for item in error.errors())) from None


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Prefix the message of a `ConfigError` or `DataError` with `where`, unless it has that already."""
    try:
        yield
    except (ConfigError, DataError) as error:
        known = str(error).startswith((f"{where}: ", f"{where}, ", f"{where} '"))
        raise error if known else type(error)(f"{where}: {error}") from None


def build(function: Callable[..., T], params: Mapping[str, Any], where: str) -> T:
    """Call a function or class with declared parameters; see `validate_params`."""
    return function(**validate_params(function, params, where))


def validate_params(function: Callable[..., Any], params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of all declarable parameters of `function`, those with a default; `ConfigError` like `validate`."""
    values = validate(_model_of(function), params, where)
    return {name: getattr(values, name) for name in type(values).model_fields}


@cache
def _model_of(function: Callable[..., Any]) -> type[Declared]:
    """A pydantic model of the declarable parameters of a function or class."""
    own = [item for item in inspect.signature(function).parameters.values() if item.default is not item.empty]
    hints = get_type_hints(function, include_extras=True)
    declared: dict[str, Any] = {item.name: (hints[item.name], item.default) for item in own}
    return create_model(function.__name__, __base__=Declared, **declared)


class Parameterised:
    """Base of dataclasses whose constructor checks parameters against their annotations, also when called from Python."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a value that an annotation does not allow; subclasses check combinations."""
        for name, value in validate_params(type(self), parameters(self), type(self).__name__).items():
            setattr(self, name, value)


def parameters(instance: Any) -> dict[str, Any]:
    """The declarable parameters of a dataclass instance, as `build` takes them."""
    own = [item.name for item in fields(instance) if item.init]
    return {name: list(value) if isinstance(value := getattr(instance, name), tuple) else value for name in own}


def allowed_values(kind: Any) -> dict[str, str]:
    """A description of the values that each parameter of a dataclass allows."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: _in_words(TypeAdapter(hints[item.name]).json_schema()) for item in fields(kind) if item.init}


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_in_words(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    names = {"integer": "integer", "string": "string", "array": "list of", "boolean": "true, false", "null": "null"}
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    inner = [_in_words(schema["items"])] if "items" in schema else []
    return " ".join([names.get(schema.get("type", ""), schema.get("type", "anything")), *bounds, *inner])


def _sentence(kind: Any, item: Any, where: str) -> str:
    keys = item["loc"][1:] if get_origin(kind) is Annotated else item["loc"]  # a tagged union puts the tag first
    place = ".".join(map(str, keys))
    if item["type"] == "extra_forbidden":
        known = _keys_beside(kind, item["loc"])
        hint = f"; {did_you_mean(str(keys[-1]), known)}" if known else ""
        return f"{where}: unknown key {place!r}{hint}"
    if item["type"] == "missing":
        return f"{where}: key {place!r} is missing"
    got = "" if item["type"] == "value_error" else f", got {item['input']!r}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {place + ': ' if place else ''}{message[0].lower() + message[1:]}{got}"


def _keys_beside(kind: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys that a `Declared` model accepts at the level of `location`, as far as they can be followed."""
    models = _models_in(kind)
    for part in location[:-1]:
        below = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        models = [model for annotation in below for model in _models_in(annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
