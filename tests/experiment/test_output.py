"""What is left of runs that end early."""

from contextlib import suppress

import pytest

from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.experiment.output import new_folder, open_output


def run(path, *, finished: int = 0, error: BaseException | None = None, resume: bool = False, pipeline: str = "a: 1\n") -> None:
    """A run that saves so many models and then ends, with an error or like one that was killed."""
    with open_output(path, pipeline, {}, resume=resume) as folder:
        folder.write_note("something", "x")
        for number in range(finished):
            folder.model(f"model-{number}").mkdir()
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [DataError("x"), ConfigError("x"), OutputError("x"), ValueError("x"), MemoryError()])
@pytest.mark.parametrize("existed", [False, True])
def test_of_a_failed_run_without_a_model_nothing_is_left(tmp_path, error, existed):
    """Only the folder itself, if it was there before."""
    path = tmp_path / "out"
    if existed:
        path.mkdir()
    with pytest.raises(type(error)):
        run(path, error=error)
    assert list(tmp_path.rglob("*")) == ([path] if existed else [])
    run(path, pipeline="a: 2\n")


def test_a_failed_run_with_a_model_is_moved_aside_by_the_next_one(tmp_path):
    path = tmp_path / "out"
    for number in range(2):
        with pytest.raises(DataError):
            run(path, finished=1, error=DataError("x"), pipeline=f"a: {number}\n")
    run(path, pipeline="a: 2\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "out.failed", "out.failed-2"]
    texts = [(tmp_path / name / "pipeline.yaml").read_text() for name in ("out.failed", "out.failed-2", "out")]
    assert texts == ["a: 0\n", "a: 1\n", "a: 2\n"]
    assert (tmp_path / "out.failed/models/model-0").is_dir()
    assert not (path / "models/model-0").exists()


def test_a_failed_run_with_a_model_can_be_resumed(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(DataError):
        run(path, finished=1, error=DataError("x"))
    with pytest.raises(ConfigError, match="another pipeline"):
        run(path, resume=True, pipeline="a: 2\n")
    run(path, resume=True)
    assert (path / "models/model-0").is_dir()
    with pytest.raises(OutputError, match="holds an interrupted run; continue it with --resume"):
        run(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_an_interrupted_run_keeps_its_state(tmp_path, error):
    path = tmp_path / "out"
    with suppress(KeyboardInterrupt):
        run(path, error=error)
    assert (path / ".work/something.json").exists()
    with pytest.raises(OutputError, match="holds an interrupted run"):
        run(path)
    with pytest.raises(DataError):
        run(path, resume=True, error=DataError("x"))
    assert (path / ".work/something.json").exists()  # which the resumed run has not made


def test_a_failed_run_removes_nothing_of_others(tmp_path):
    path = tmp_path / "out"
    with suppress(DataError), open_output(path, "a: 1\n", {}, resume=False):
        (path / "notes.txt").write_text("mine")
        raise DataError("x")
    assert [entry.name for entry in path.iterdir()] == ["notes.txt"]


def test_new_folders_are_numbered(tmp_path):
    assert [new_folder(tmp_path / "runs", "a").name for _ in range(3)] == ["a", "a-2", "a-3"]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot create .*file/a: Not a directory; choose an --output"):
        new_folder(tmp_path / "file", "a")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*out: Not a directory"):
        run(tmp_path / "file/out")
