"""The files that lists were made from, found again from their manifest."""

from pathlib import Path

import pytest

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.experiment.list_files import ListFiles
from recsys_ae.export.provenance import InputFile, Sources, unchanged

LOG = {"history": InputFile("/data/log.csv", 5, "0" * 32), "users": InputFile("/data/users.csv", 5, "1" * 32)}


def found(sources: Sources, model: str | None = None, history: Path | None = None) -> ListFiles:
    return ListFiles.of(sources, model=model, history=history, tracking_uri=None)


def test_the_digests_are_those_of_what_was_read(tmp_path):
    log, other = tmp_path / "log.csv", tmp_path / "other.csv"
    log.write_text("a")
    with unchanged({"history": log, "users": None, "titles": tmp_path / "absent"}) as files:
        assert files == {"history": InputFile.of(log)}
    other.write_text("b")
    message = r"log\.csv \(history\) has changed while it was read; repeat the command"
    with pytest.raises(DataError, match=message), unchanged({"history": log}):
        other.replace(log)  # as a job does that writes a new log beside it
    with pytest.raises(DataError, match="has changed"), unchanged({"history": log}):
        log.unlink()


def test_no_login_is_kept():
    assert Sources("https://me:secret@host/model").model == "https://***@host/model"


def test_files_come_from_the_manifest_unless_given():
    sources = Sources("/models/ease", files=LOG, options={"skip_unknown": True})
    assert found(sources) == ListFiles("/models/ease", Path("/data/log.csv"), Path("/data/users.csv"), skip_unknown=True)
    other = found(sources, "runs:/1/model", Path("archive.csv"))
    assert (other.model, other.history, other.users) == ("runs:/1/model", Path("archive.csv"), Path("/data/users.csv"))


@pytest.mark.parametrize(
    ("given", "run", "model"),
    [
        ("models:/films@champion", "abc", "runs:/abc/model"),  # the alias may be another model's by now
        ("models:/films@champion", None, "models:/films@champion"),
        ("runs:/abc/model", "abc", "runs:/abc/model"),
        ("/models/ease", "abc", "/models/ease"),
    ],
)
def test_an_alias_is_replaced_by_its_run(given, run, model):
    assert found(Sources(given, run, files=LOG)).model == model


@pytest.mark.parametrize(("sources", "missing"), [(Sources(files=LOG), "model"), (Sources("/models/ease"), "history")])
def test_inputs_missing_in_the_manifest_must_be_given(sources, missing):
    with pytest.raises(ConfigError, match=f"does not say from which {missing} .* give it as --{missing}"):
        found(sources)
