"""Where the files of a dataset are found, and what cards may say about it."""

import gzip

import pytest
import yaml
from downloads import LINES, archive, card, md5
from filelock import FileLock
from pydantic import ValidationError

from recsys_ae.data import fetch
from recsys_ae.data.cards import RatingsCard, read_card
from recsys_ae.data.fetch import locate, locate_table, locate_titles
from recsys_ae.data.id_tables import read_titles
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.folders import cache_folder


def test_downloaded_unpacked_and_kept(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RECSYS_AE_DATA", str(tmp_path / "elsewhere"))
    folder, address = server
    wanted = card(f"{address}/set.zip", md5(archive(folder)), checksums={"set/u.data": md5(LINES)})
    path = locate(wanted, ["set/u.data"], tmp_path)
    assert path == cache_folder() / "set/u.data"
    assert path.read_bytes() == LINES
    (folder / "set.zip").unlink()
    assert locate(wanted, ["set/u.data"], tmp_path) == path


def test_own_data_folder_comes_first_and_is_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_DATA", str(tmp_path))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/u.data").write_bytes(LINES)
    wanted = card("http://127.0.0.1:1/none", "", checksums={"set/u.data": md5(LINES)})
    assert locate(wanted, ["set/u.data"], tmp_path) == tmp_path / "set/u.data"
    (tmp_path / "set/u.data").write_bytes(LINES[:-1])
    with pytest.raises(DataError, match=r"MD5 checksum of .*u\.data is .*, but its card says"):
        locate(wanted, ["set/u.data"], tmp_path)


def test_checksum_of_gzip_is_that_of_its_content(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(LINES, 1))
    table = {"path": "x.gz", "columns": {"user": "a", "item": "b"}}
    wanted = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table], "checksums": {"x.gz": md5(LINES)}})
    assert locate(wanted, ["x.gz"], tmp_path) == tmp_path / "x.gz"


PATHS = ["../x", "/x", "a/../../x", "~/x", "a\\x", "C:/x", "", ".", "a//b", "x" * 256, "..", "a\nb", "a/."]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "key",
    ["sources.0.path", "files.0.path", "folder", "checksums", "splits.a.train", "splits.a.flags", "features.users.path"],
)
def test_paths_of_cards_with_downloads_stay_inside(tmp_path, monkeypatch, path, key):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    table = {"path": "x.csv", "columns": {"user": "u", "item": "i"}}
    declared = {"name": "x", "kind": "ratings", "files": [table], "sources": [{"url": "http://h/x.csv", "path": "x.csv"}]}
    value = {
        "sources.0.path": {"sources": [{"url": "http://h/x.csv", "path": path}]},
        "files.0.path": {"files": [{**table, "path": path}]},
        "folder": {"folder": path},
        "checksums": {"checksums": {path: "0"}},
        "splits.a.train": {"splits": {"a": {"train": path or "..", "test": "y"}}},
        "splits.a.flags": {"splits": {"a": {"flags": path or "..", "column": "y"}}},
        "features.users.path": {
            "features": {"users": {"path": path, "id": "u", "columns": {"a": {"kind": "numeric", "column": "a"}}}}
        },
    }[key]
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**declared, **value}))
    with pytest.raises(ConfigError, match=rf"card.yaml: {key}.* must be a relative path below the data folder") as refused:
        read_card("card.yaml", tmp_path)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "url", ["http://h/", "http://h", "http://h/..", "http://h/a/?x=b.zip", "http://h/%00/..", "http://h/~x"]
)
def test_archives_need_a_name(url):
    with pytest.raises(ValidationError, match="does not end in a file name"):
        card(url, "")


def test_the_name_of_an_archive_has_no_query(tmp_path):
    assert card("http://h/a/set.zip?token=/../x#part", "").sources[0].name == "set.zip"


def test_a_misspelt_file_of_an_own_card_is_recognised(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.csv").touch()

    def message(path: str) -> str:
        layout = {"path": path, "columns": {"user": 1, "item": 2}, "header": False}
        with pytest.raises(DataError) as caught:
            locate(RatingsCard(name="x", kind="ratings", files=[layout]), [path], tmp_path)
        return str(caught.value)

    assert message("data/lgo.csv").endswith(f"no file data/lgo.csv in {tmp_path}; did you mean '{tmp_path}/data/log.csv'?")
    assert message("dta/log.csv").endswith(f"; did you mean '{tmp_path}/data/log.csv'?")
    assert message("other.txt").endswith("; set RECSYS_AE_DATA to its folder")


@pytest.mark.parametrize("there", ["log.csv", "mylog.csv", "my/log.csv"])
def test_the_layout_is_that_of_the_file_that_is_found(tmp_path, there):
    layouts = [{"path": path, "columns": {"user": path, "item": "b"}} for path in ("log.csv", "mylog.csv", "my/log.csv")]
    (tmp_path / "my").mkdir()
    (tmp_path / there).touch()
    card = RatingsCard(name="x", kind="ratings", files=layouts)
    path, table = locate_table(card, card.files, tmp_path)
    assert (path, table.columns.user) == (tmp_path / there, there)


def test_a_given_file_of_titles_with_names_of_columns_is_read_by_them(tmp_path):
    """Columns that are declared by number are in any file."""
    columns = {"path": "films", "separator": "|", "header": False, "id": 1, "title": 2}
    log = {"path": "log.csv", "columns": {"user": "a", "item": "b"}}
    card = RatingsCard(name="x", kind="ratings", files=[log], titles=columns)
    (tmp_path / "films").write_text("7|Heat|1995\n")
    (tmp_path / "named").write_text("title|year|item_id\nHeat|1995|7\n")
    for name in ("films", "named"):
        path, layout = locate_titles(card, tmp_path, tmp_path / name)
        assert read_titles(path, "int", layout).to_dict("list") == {"item_id": [7], "title": ["Heat"]}


def test_own_cards_read_from_anywhere(tmp_path):
    """Nothing is written for a card without downloads."""
    (tmp_path / "data").mkdir()
    (tmp_path / "cards").mkdir()
    (tmp_path / "data/x.csv").write_bytes(LINES)
    for folder, path in (("../data", "x.csv"), (None, "../data/x.csv"), (None, str(tmp_path / "data/x.csv"))):
        table = {"path": path, "columns": {"user": "u", "item": "i"}}
        own = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table], "folder": folder})
        assert locate(own, [path], tmp_path / "cards").samefile(tmp_path / "data/x.csv")
    for name in ("x" * 300, "\ud800", ""):
        table = {"path": name, "columns": {"user": "u", "item": "i"}}
        own = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table]})
        with pytest.raises(DataError, match="dataset 'x': no file"):
            locate(own, [name], tmp_path)
    with pytest.raises(ValidationError, match=r"files.0.path: .* is not a path"):
        RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [{**table, "path": "a\0"}]})


def test_a_link_in_the_cache_does_not_lead_out(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/set").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"leads outside of .*cache through a link"):
        locate(card(f"{server[1]}/set.zip", md5(archive(server[0]))), ["set/u.data"], tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(DataError, match=r"cannot write downloads to .*file/cache; set RECSYS_AE_CACHE"):
        locate(card("http://127.0.0.1:1/x.zip", ""), ["x"], tmp_path)


def test_a_locked_cache_is_waited_for_so_long(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch, "WAIT", 0.1)
    with FileLock(tmp_path / ".lock"), pytest.raises(OutputError, match=r"another process is downloading .*\.lock after"):
        locate(card("http://127.0.0.1:1/x.zip", ""), ["x"], tmp_path)
