"""Strict reading of YAML and of numbers."""

from datetime import date
from typing import Annotated, Literal

import pytest
from pydantic import Field

from recsys_ae import build_model
from recsys_ae.declaration import LARGEST_INT, Declared, check_numbers, validate
from recsys_ae.errors import ConfigError, quoted, shortened
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.storage import build_image_model
from recsys_ae.models import MODELS
from recsys_ae.strict_yaml import DEPTH, FILE_BYTES, parse_yaml, read_yaml

LONG = 1000  # characters; longer than any message may be


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2001-13-45", "line 2, column 4: .*'2001-13-45' is not a valid date"),
        ("2001-01-01T25:00:00", "not a valid date"),
        ("!!int abc", "'abc' is not a valid whole number"),
        ("9" * LONG * 5, "not a valid whole number"),
        ("0b_", "not a valid whole number"),
        ("!!float x", "'x' is not a valid number"),
        ("!!bool maybe", "'maybe' is not a valid boolean"),
        ("!!timestamp foo", "'foo' is not a valid date"),
        ("!!seq {a: 1}", "not a valid list"),
        ("!!map [a]", "not a valid mapping"),
        ("!!str [a]", "not a valid text"),
        ("!!set {a}", "unsupported type set"),
        ("!!binary aGk=", "unsupported type binary"),
        ("!!python/object/apply:os.system [true]", "unsupported type python/object/apply:os.system"),
        (f"!{'x' * LONG} a", "unsupported type !xxx"),
        ("a: 1\n<<: {b: 2}", "line 2, .* unsupported type merge"),
        ("separator: =", "'=' has the unsupported type value; put quotes around it"),
        ("a: &x 1\nb: *x", "line 2, column 4: .*aliases are not supported"),
        ("&a [*a]", "aliases are not supported"),
        ("[" * 3000, f"nested more than {DEPTH} levels deep"),
        ("- " * 3000 + "a", f"nested more than {DEPTH} levels deep"),
        ('"\\ud800"', "a NUL or surrogate character"),
        ('"a\\0"', "a NUL or surrogate character"),
        ("a\nb\0", "line 2: not a text file"),
        ("a: 1\n---\nb: 2", "another document"),
        ("? [a]\n: b", "is not a string .line 1"),
        (f"? [{'a' * LONG}]\n: b", "is not a string .line 1"),
        ("a: 1\na: 2", "duplicate key 'a' .line 2"),
        ("a: [1", "line 1"),
    ],
)
def test_yaml_that_is_no_declaration(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here")
    assert len(str(caught.value)) < 400


def test_deep_but_allowed():
    value = parse_yaml("[" * (DEPTH - 1) + "a" + "]" * (DEPTH - 1), "here")
    for _ in range(DEPTH - 1):
        (value,) = value
    assert value == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"[1, 2]", r"expected keys and values, got \[1, 2\]"),
        (b"a: 1\nb: caf\xe9\n", "line 2: not UTF-8 text: it has the byte 0xe9"),
        (b"a: b\n" * FILE_BYTES, "has more than 256 KiB"),
    ],
)
def test_files_that_are_no_declarations(tmp_path, content, message):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize("name", ["log.csv", "log.TSV", "log.csv.gz", "log.parquet"])
def test_data_is_not_read_as_a_declaration(tmp_path, name):
    (tmp_path / name).write_bytes(b"user_id,item_id\n" * FILE_BYTES)
    with pytest.raises(
        ConfigError, match=rf"{name} looks like a data file, not a pipeline or card: a pipeline .* under `files`"
    ):
        read_yaml(tmp_path / name)
    (tmp_path / "log.txt").write_bytes(b"user_id,item_id\n1,2\n")
    with pytest.raises(
        ConfigError, match="expected keys and values, got 'user_id,item_id 1,2'; a pipeline or card is a YAML file"
    ):
        read_yaml(tmp_path / "log.txt")


def test_the_message_of_a_bomb_is_short(tmp_path):
    """Nine levels of nine aliases each stand for a gigabyte."""
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="aliases are not supported"):
        read_yaml(tmp_path / "x.yaml")


def models() -> list[tuple[str, object]]:
    return [*((name, build_model) for name in MODELS), *((name, build_image_model) for name in IMAGE_MODELS)]


@pytest.mark.parametrize(("name", "build"), models(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_model_accepts_a_number_that_float32_cannot_hold(name, build):
    """Whatever the parameter, and whether it is a number or a list of them."""
    tried = 0
    for key, value in vars(build(name)).items():
        if isinstance(value, float | int | tuple) and not isinstance(value, bool):
            tried += 1
            for bad in (float("inf"), float("-inf"), float("nan"), 1e39, -1e39, 10**400, LARGEST_INT + 1):
                if bad == LARGEST_INT + 1 and isinstance(value, float):
                    continue  # a float may be as large as that, if the parameter has no other bounds
                for given in (bad, [bad], repr(bad)):
                    with pytest.raises(ConfigError, match=key):
                        build(name, {key: given})
            if isinstance(value, float) and value > 0:
                with pytest.raises(ConfigError, match=f"{key}: "):
                    build(name, {key: 1e-60})
    assert tried or name in ("popularity", "session_popularity")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e39, -1e39, 1e-39, 2**31, -(2**31)])
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: [1, (2.0, x)], lambda x: {"a": [x]}])
def test_numbers_are_checked_at_any_depth(value, inside):
    with pytest.raises(ConfigError, match="here: "):
        check_numbers(inside(value), "here")


def test_usual_numbers_pass():
    check_numbers([0, 0.0, -0.0, 1e-38 * 2, 3e38, -LARGEST_INT, True, None, "1e99"], "here")


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, 1.5, "expected a whole number, got 1.5"),
        (int, "x", "expected a whole number, got 'x'"),
        (float, None, "expected a number, got None"),
        (bool, "x", "expected true or false, got 'x'"),
        (str, 1, "expected text, got 1"),
        (list[int], 1, "expected a list, got 1"),
        (tuple[int, ...], 1, "expected a list, got 1"),
        (dict[str, int], 1, "expected keys and values, got 1"),
        (Declared, 1, "expected keys and values, got 1"),
        (Annotated[int, Field(gt=0)], 0, "expected more than 0, got 0"),
        (Annotated[float, Field(ge=0, lt=1)], 1, "expected less than 1.0, got 1"),
        (Annotated[int, Field(le=3)], 4, "expected at most 3, got 4"),
        (Annotated[list[int], Field(min_length=1)], [], "expected at least 1 item, got []"),
        (Annotated[str, Field(max_length=1)], "ab", "expected at most 1 character, got 'ab'"),
        (Annotated[str, Field(pattern="^a$")], "b", "expected text that matches ^a$, got 'b'"),
        (Literal["a", "b"], "c", "expected 'a' or 'b', got 'c'"),
        (date, "x", "expected a valid date or datetime, input is too short, got 'x'"),
    ],
)
def test_what_was_expected_is_in_our_words(kind, value, message):
    with pytest.raises(ConfigError) as caught:
        validate(kind, value, "here")
    assert str(caught.value) == f"here: {message}"


def test_few_of_many_errors_are_shown():
    with pytest.raises(ConfigError, match="and 97 more such errors") as caught:
        validate(list[int], ["x" * LONG] * 100, "here")
    assert len(str(caught.value)) < LONG


def test_long_values_are_cut_in_the_middle():
    assert shortened("abcdefghij", 9) == "abc...hij"
    assert len(quoted("x" * LONG)) <= 80


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (int, True, "expected a number, got True"),
        (float, False, "expected a number, got False"),
        (list[int], [0, True], "1: expected a number, got True"),
        (dict[str, float], {"a": True}, "a: expected a number, got True"),
        (int | list[int], True, "expected a number, got True"),
        (bool, 1, "expected true or false, got 1"),
        (bool, "yes", "expected true or false, got 'yes'"),
    ],
)
def test_booleans_are_no_numbers_and_numbers_no_booleans(kind, value, place):
    with pytest.raises(ConfigError, match=f"file.yaml: {place}"):
        validate(kind, value, "file.yaml")
    assert validate(bool, True, "file.yaml") is True
