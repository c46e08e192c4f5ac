"""Declarations (files, `--set` values and parameters) checked against Python types.

Unknown keys and values of the wrong type are errors that name their place. Numbers must fit the types used for computing, see
`check_numbers`.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from math import isfinite, log10
from typing import Annotated, Any, SupportsIndex, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import core_schema

from recsys_ae.errors import ConfigError, DataError, counted, did_you_mean, quoted, shortened

T = TypeVar("T")
# pydantic's types of errors in our words: for a wrong type by how they begin, for bounds and lengths with the key of the limit
TYPES = {"int_": "a whole number", "float_": "a number", "bool_": "true or false", "string_type": "text", "list_": "a list"}
TYPES |= {"tuple_": "a list", "dict_": "keys and values", "model_": "keys and values", "none_": "null"}
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
LENGTHS = {
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
}
LARGEST_FLOAT, SMALLEST_FLOAT = 3.4e38, 1.2e-38  # of float32, in which models compute
LARGEST_INT = 2**31 - 1
ERRORS_SHOWN = 3
NAME_BYTES = 100  # file names may have 255, but are composed of several names


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
            raise ValueError(f"unknown {self.kind} {quoted(name)}; {did_you_mean(name, self.names)}")
        return name


def check_name(name: str) -> str:
    """`name`, if it can name a pipeline, experiment or dataset; `ValueError` otherwise."""
    if not (name.strip() and name.isprintable() and len(name.encode(errors="surrogateescape")) <= NAME_BYTES):
        raise ValueError(f"a name needs 1 to {NAME_BYTES} bytes of printable text, got {quoted(name)}")
    return name


Name = Annotated[str, AfterValidator(check_name)]
Size = Annotated[int, Field(ge=1)]
AnySizes = Annotated[tuple[Size, ...], BeforeValidator(as_sizes, json_schema_input_type=Size | list[Size])]
Sizes = Annotated[
    tuple[Size, ...],
    BeforeValidator(as_sizes, json_schema_input_type=Size | Annotated[list[Size], Field(min_length=1)]),
    Field(min_length=1),
]


class Declared(BaseModel):
    """Base of everything that is read from YAML: unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validate(kind: Any, value: Any, where: str) -> Any:
    """`value` as an instance of `kind`, a `Declared` model or any other annotation.

    Raises:
        ConfigError: unknown keys (with a suggestion), missing keys, wrong types, numbers that are not finite or too large; the
            message begins with `where` and the key.
    """
    try:
        found = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problems = _problems(error, value)
        more = len(problems) - ERRORS_SHOWN
        sentences = [_sentence(kind, item, where) for item in problems[:ERRORS_SHOWN]]
        raise ConfigError("; ".join([*sentences, *([f"and {more} more such errors"] if more > 0 else [])])) from None
    _check_booleans(value, found, where)
    check_numbers(found, where)
    return found


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All leaf values at any depth, each with its path of keys and positions, joined by dots."""
    if isinstance(value, BaseModel):
        inner: Iterable[tuple[Any, Any]] = (
            (one.alias or name, getattr(value, name)) for name, one in type(value).model_fields.items()
        )
    elif isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        yield place, value
        return
    for key, item in inner:
        yield from _leaves(item, f"{place}.{key}" if place else str(key))


def _check_booleans(given: Any, found: Any, where: str) -> None:
    """Raise `ConfigError` for a boolean where a number is expected, or the reverse."""
    kept = dict(_leaves(found))
    for place, value in _leaves(given):
        if isinstance(value, bool | int | float | str) and isinstance(value, bool) != isinstance(kept.get(place), bool):
            wanted = "a number" if isinstance(value, bool) else "true or false"
            raise ConfigError(f"{where}: {place + ': ' if place else ''}expected {wanted}, got {quoted(value)}")


def check_numbers(found: Any, where: str) -> None:
    """Raise `ConfigError` for a number in a validated value that float32 or an index cannot hold.

    Floats must be finite, and 0 or between 1.2e-38 and 3.4e38 in size; whole numbers lie within +-2147483647.
    """
    for place, value in _leaves(found):
        allowed = ""
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            allowed = f"whole numbers may be at most {LARGEST_INT}"
        elif isinstance(value, float) and value and not (isfinite(value) and SMALLEST_FLOAT <= abs(value) <= LARGEST_FLOAT):
            allowed = f"numbers must be finite, and 0 or from {SMALLEST_FLOAT:g} to {LARGEST_FLOAT:g} in size"
        if allowed:
            raise ConfigError(f"{where}: {place + ': ' if place else ''}{allowed}, got {quoted(value)}")


def check_seed(seed: int) -> None:
    """Raise `ConfigError` unless all random number generators accept `seed`."""
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex) or not 0 <= seed.__index__() <= LARGEST_INT:
        raise ConfigError(f"a seed must be a whole number from 0 to {LARGEST_INT}, got {quoted(seed)}")


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Prefix the message of a `ConfigError` or `DataError` with `where`, unless it starts with it already."""
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
    values = validate(declared_model(function), params, where)
    return {name: getattr(values, name) for name in type(values).model_fields}


@cache
def declared_model(function: Callable[..., Any]) -> type[Declared]:
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


def likely_cause(instance: Any) -> str:
    """Advice for a model that cannot be fitted: its parameter furthest from the default, by ratio."""
    distances = {}
    for item in fields(instance):
        value, default = _magnitude(getattr(instance, item.name)), _magnitude(item.default)
        if value is not None and default is not None and value != default:
            distances[item.name] = abs(log10((value + 1e-3) / (default + 1e-3)))
    if not distances:
        return "try other parameters"
    name = max(distances, key=lambda key: distances[key])
    value, default = getattr(instance, name), getattr(type(instance), name)
    return f"the likely cause is {name}: {quoted(value, 60)} (default {default!r})"


def _magnitude(value: Any) -> float | None:
    """The absolute value of a number, or the largest number of a tuple of numbers; None for anything else."""
    if isinstance(value, tuple) and all(isinstance(one, int | float) for one in value):
        return max(map(float, value), default=0.0)
    return abs(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
    kind = names.get(schema.get("type", ""), schema.get("type", "anything"))
    return " ".join([kind, *([" and ".join(bounds)] if bounds else []), *inner])


def _problems(error: ValidationError, value: Any) -> list[Any]:
    """One error per place in `value`, with its keys as `keys`; of several for alternative types, one that is about more."""
    found: dict[tuple[Any, ...], Any] = {}
    for item in error.errors():
        keys = _keys(item, value)
        better = min(found.get(keys, item), item, key=lambda one: one["type"].endswith(("_type", "_parsing")))
        found[keys] = {**better, "keys": keys}
    return list(found.values())


def _keys(item: Any, value: Any) -> tuple[Any, ...]:
    """The place of an error without the names of types that pydantic puts between the keys."""
    keys = []
    for part in item["loc"]:
        inside = part in value if isinstance(value, Mapping) else isinstance(value, list | tuple) and part in range(len(value))
        if inside:
            keys.append(part)
            value = value[part]
    named = item["type"] in ("missing", "extra_forbidden") and (not keys or keys[-1] != item["loc"][-1])
    return (*keys, item["loc"][-1]) if named else tuple(keys)


def _sentence(kind: Any, item: Any, where: str) -> str:
    keys = item["keys"]
    place = shortened(".".join(map(str, keys)), 100)
    if item["type"] == "extra_forbidden":
        known = _keys_beside(kind, item["loc"])
        hint = f"; {did_you_mean(str(keys[-1]), known)}" if known else ""
        return f"{where}: unknown key {place!r}{hint}"
    if item["type"] == "missing":
        return f"{where}: key {place!r} is missing"
    got = "" if item["type"] == "value_error" else f", got {quoted(item['input'])}"
    message = shortened(_message(item), 200)
    return f"{where}: {place + ': ' if place else ''}{message[0].lower() + message[1:]}{got}"


def _message(item: Any) -> str:
    """An error of pydantic in our words."""
    found, context = item["type"], item.get("ctx", {})
    own = next((words for begin, words in TYPES.items() if found.startswith(begin)), None)
    if found in BOUNDS:
        words, key = BOUNDS[found]
        own = f"{words} {context[key]}"
    elif found in LENGTHS:
        words, key, what = LENGTHS[found]
        own = f"{words} {counted(context[key], what)}"
    elif found == "literal_error":
        own = context["expected"]
    elif found == "string_pattern_mismatch":
        own = f"text that matches {context['pattern']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"expected {own}" if own else message.replace("Input should be", "expected")


def _keys_beside(kind: Any, location: tuple[Any, ...]) -> set[str]:
    """The keys that a `Declared` model accepts at the level of `location`, as far as they can be followed."""
    models = _models_in(kind)
    for part in location[:-1]:
        below = [
            field.annotation for model in models for name, field in model.model_fields.items() if part == (field.alias or name)
        ]
        chosen = [model for model in models if _is_named(model, part)]
        models = [model for annotation in below for model in _models_in(annotation)] or chosen or models
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def _is_named(model: type[BaseModel], part: Any) -> bool:
    """Whether `part` of a location chooses this model among several: by its name, or by the value of a field."""
    values = (get_args(field.annotation) for field in model.model_fields.values())
    return part == model.__name__ or any((part,) == allowed for allowed in values)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
