"""The files that lists were made from, found again from their manifest."""

from pathlib import Path

import pytest

from recsys_ae.errors import ConfigError
from recsys_ae.experiment.list_files import ListFiles
from recsys_ae.export.provenance import InputFile, Sources

LOG = {"history": InputFile("/data/log.csv", 5, "0" * 32), "users": InputFile("/data/users.csv", 5, "1" * 32)}


def found(sources: Sources, model: str | None = None, history: Path | None = None) -> ListFiles:
    return ListFiles.of(sources, model=model, history=history, tracking_uri=None)


def test_all_files_are_those_of_the_manifest_unless_given():
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
def test_what_the_manifest_does_not_say_must_be_given(sources, missing):
    with pytest.raises(ConfigError, match=f"does not say from which {missing} .* give it as --{missing}"):
        found(sources)
