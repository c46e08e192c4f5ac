"""Runs and exports that are killed at random moments, several times, and continued: the results are the same to the last byte.

Kills at chosen points of a training are in tests/cli/test_output.py and tests/experiment/test_image_state.py; here the moments
are drawn from a seed, as shares of the time that the undisturbed run takes from the appearance of its first file, so that they
fall into trainings, searches, second fits, final fits, exports and the writing of files alike.
"""

import json
import random
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import Command
from robustness.feeding import pipeline, small_log, small_model

RATINGS = pipeline(
    models=[
        {"name": "autorec", "hidden": 30, "epochs": 25, "patience": 0, "search": {"l2": [1, 20]}},
        {"name": "mf", "factors": 4, "epochs": 25, "patience": 0},
        {"name": "ease"},
    ],
    metrics=["rmse", "ndcg@5"],
    seed=[0, 1],
    refit=True,
    export={"k": 5, "model": "autorec"},
)
IMAGES = {
    "dataset": "digits",
    "split": {"train": 300, "valid": 50},
    "models": [
        {
            "name": "dense",
            "label": "plain",
            "hidden": 12,
            "epochs": 12,
            "corruption": "masking",
            "noise": 0.2,
            "search": {"learning_rate": [0.01, 0.003]},
        },
        {"name": "stacked", "hidden": [20, 10], "layer_epochs": 10, "fine_tune": "classes", "epochs": 12},
        {"name": "variational", "hidden": [16, 4], "epochs": 12},
    ],
    "metrics": ["mse"],
    "seed": [1, 0],
    "export": {"model": "plain"},
}
REFITTED_IMAGES = {
    **IMAGES,
    "models": [IMAGES["models"][0], {"name": "convolutional", "channels": [2, 4], "epochs": 6}],
    "refit": True,
}
RUN = "run mine.yaml --output out --tracking-uri none"
TIMES = ("seconds", "_mb", "checksum", "made", "origin")  # endings of the keys of what differs between any two runs


def start(folder: Path, command: str) -> Command:
    return Command(*command.split(), folder=folder)


def finish(process: Command) -> None:
    _, told = process.communicate()
    assert process.returncode == 0, told[-3000:]


def duration(folder: Path, command: str) -> float:
    """Seconds of an undisturbed run from its first file to its end."""
    with start(folder, command) as process:
        wait_for_output(folder, process)
        started = time.monotonic()
        finish(process)
    return time.monotonic() - started


def outputs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.strip(".").startswith(("out", "lists"))]


def wait_for_output(folder: Path, process: Command) -> None:
    while not outputs(folder) and process.poll() is None:
        time.sleep(0.002)


def timeless(value: object) -> object:
    """A report without what differs between any two runs."""
    if isinstance(value, dict):
        return {key: timeless(below) for key, below in value.items() if not key.endswith(TIMES)}
    return [timeless(below) for below in value] if isinstance(value, list) else value


def results(output: Path) -> dict[str, object]:
    """Everything that a run or an export leaves, by path, without times of day and durations."""
    found: dict[str, object] = {}
    for path in sorted(path for path in output.rglob("*") if path.is_file() and path.name != ".lock"):
        name = path.relative_to(output).as_posix()
        if path.name in ("report.json", "_manifest.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            table = pd.read_csv(path)
            found[name] = table[[column for column in table if not column.endswith((" s", "MB", "seconds", "mb"))]].to_csv()
        elif path.suffix not in (".png", ".html"):  # drawn from the same numbers, the page also from times
            found[name] = path.read_bytes()
        else:
            found[name] = "drawn"
    return found


def killed_and_resumed(folder: Path, command: str, again: str, moments: list[float]) -> None:
    """Kill the command at each of the moments (seconds after its first file), continue it as `again`, finally to the end."""
    for number, moment in enumerate(moments):
        with start(folder, again if number else command) as process:
            wait_for_output(folder, process)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
    with start(folder, again) as process:
        finish(process)


def few(seed: int, request: pytest.FixtureRequest) -> None:
    """Skip all but the first moments unless more are asked for."""
    if seed and not request.config.getoption("--mutations"):
        pytest.skip("killed at more moments with --mutations N")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("declared", [RATINGS, IMAGES, REFITTED_IMAGES], ids=["ratings", "images", "refitted-images"])
def test_a_run_killed_at_random_moments_ends_with_the_same_results(declared, seed, tmp_path, request):
    few(seed, request)
    for name in ("whole", "killed"):  # the output is at the same path within each
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").write_text(yaml.safe_dump({**declared, **within(declared, tmp_path)}))
    (tmp_path / "log.csv").write_text(small_log(60, 20))
    seconds = duration(tmp_path / "whole", RUN)
    chance = random.Random(seed)
    moments = sorted(chance.uniform(0, 0.6) * seconds for _ in range(3))
    killed_and_resumed(tmp_path / "killed", RUN, f"{RUN} --resume", moments)
    found, right = results(tmp_path / "killed/out"), results(tmp_path / "whole/out")
    assert found.keys() == right.keys()
    assert not [name for name in found if found[name] != right[name]]


def within(declared: dict, folder: Path) -> dict:
    """The dataset of a pipeline, with its files in `folder`."""
    dataset = declared["dataset"]
    return {"dataset": {**dataset, "folder": str(folder)} if isinstance(dataset, dict) else dataset}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_export_killed_at_random_moments_ends_with_the_same_lists(seed, tmp_path, request):
    """200,000 users in several parts, so that there is something to continue."""
    few(seed, request)
    model = tmp_path / "model"
    small_model("ease")(model)
    rows = "".join(f"{user},{101 + user % 12},5\n{user},{101 + (user * 5 + 1) % 12},3\n" for user in range(1, 200_001))
    history = tmp_path / "history.csv"
    history.write_text("user,item,rating\n" + rows)
    command = f"export {model} --history {history} --output lists --k 3"
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    seconds = duration(tmp_path / "whole", command)
    chance = random.Random(seed)
    killed_and_resumed(tmp_path / "killed", command, command, [chance.uniform(0, 0.6) * seconds for _ in range(2)])
    assert results(tmp_path / "killed/lists") == results(tmp_path / "whole/lists")
    assert [path.name for path in outputs(tmp_path / "killed")] == ["lists"]
