import pytest

from recsys_ae.data.cards import read_card, shipped_cards
from recsys_ae.errors import ConfigError

CARD = """
name: mine
kind: ratings
files:
  - {path: mine.csv, columns: {user: u, item: i, rating: r}}
"""


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_minimal_card(tmp_path):
    card, folder = read_card(write(tmp_path, CARD))
    assert card.files[0].columns.rating == "r"
    assert card.duplicates == "error"
    assert folder == tmp_path


@pytest.mark.parametrize("name", shipped_cards())
def test_shipped_cards_are_valid_and_say_their_licence(name):
    card, _ = read_card(name)
    assert card.name == name
    assert card.licence
    assert card.title


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind: ratings", "kind: rating"), "unknown kind .rating.; did you mean .ratings.?"),
        (("kind: ratings", "kind: clicks"), r"known are: .*, ratings \(clicks are ratings without a `rating` column\)$"),
        (("kind: ratings\n", ""), "key .kind. is missing; known are: digits, "),
        (("kind: ratings", "kind: ratings\nscael: [1, 5]"), "unknown key 'scael'; did you mean 'scale'"),
        (
            ("kind: ratings", "kind: ratings\nxyz: 1"),
            "'xyz'; known are: checksums, citation, duplicates, features, files, folder, ids, k_core, kind, licence, name, "
            "scale, session_gap, sources, splits, title, titles$",
        ),
        (("kind: ratings", "kind: ratings\nk_core: {xyz: 1}"), "unknown key 'k_core.xyz'; known are: items, users$"),
        (("name: mine\n", ""), "key 'name' is missing"),
        (("user: u", "user: 1"), "must be declared by name"),
        (("path: mine.csv", "path: mine.csv, header: false"), "must be declared by number"),
        (("kind: ratings", "kind: ratings\nduplicates: first"), "duplicates"),
        (("kind: ratings", "kind: ratings\nkind: ratings"), "duplicate key"),
        (("files:", "files: ]"), "not valid YAML"),
        (("kind: ratings", "kind: ratings\nsplits: {a: {train: x}}"), "needs either `train` and `test`"),
    ],
)
def test_wrong_cards_name_file_and_key(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_card(write(tmp_path, CARD.replace(*change)))
    assert "mine.yaml" in str(caught.value)


def test_nothing_in_a_card_is_executed(tmp_path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_card(write(tmp_path, CARD + "title: !!python/object/apply:os.getcwd []\n"))


def test_unknown_dataset():
    with pytest.raises(ConfigError, match="unknown dataset 'ml-100'; did you mean 'ml-100k'"):
        read_card("ml-100")


def test_missing_card_file(tmp_path):
    with pytest.raises(ConfigError, match="there is no dataset card"):
        read_card("absent.yaml", tmp_path)
