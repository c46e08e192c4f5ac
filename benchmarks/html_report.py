"""What the page of a run costs: seconds to make it, its size, and the first paint in a browser.

    python benchmarks/html_report.py [RUN] [--smoke]

Runs a few rankers on generated ratings, or takes the finished run in the folder RUN; writes its page again and opens it in
Chromium, if there is one, at two widths. Prints a line per figure and, as the last line, a JSON object.
"""

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import yaml
from rich.console import Console

from recsys_ae.experiment.html_report import rewrite_html
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.tracking import Tracker

SIZES = {"users": 20_000, "items": 4_000, "ratings": 1_000_000, "factors": 6}
SMOKE = {"users": 100, "items": 60, "ratings": 1_000, "factors": 2}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 1280)


def page_of_a_run(folder: Path, sizes: dict[str, int]) -> Path:
    """The output folder of a run on data of these sizes."""
    declared = {
        "dataset": {"name": "generated", "kind": "planted-ratings", **sizes},
        "split": {"kind": "per_user", "test": 0.2, "valid": 0.1},
        "models": [{"name": "ease"}, {"name": "elsa", "epochs": 3}, {"name": "als", "epochs": 5}, {"name": "popularity"}],
        "metrics": ["ndcg@10", "recall@20"],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    run_pipeline(read_pipeline(str(folder / "mine.yaml")), folder / "out", Tracker(), Console(stderr=True))
    return folder / "out"


def first_paints(page: Path) -> dict[int, float]:
    """Milliseconds to the first contentful paint by width of the window; none without a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if browser is None:
        return {}
    found = {}
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width in WIDTHS:
            own = running.new_page(viewport={"width": width, "height": 800})
            own.goto(page.as_uri())
            own.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            found[width] = own.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        running.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", type=Path, help="the --output of a finished run; by default, one is made")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    arguments = parser.parse_args()
    sizes = SMOKE if arguments.smoke else SIZES
    with TemporaryDirectory() as folder:
        output = arguments.run or page_of_a_run(Path(folder), sizes)
        started = perf_counter()
        page = rewrite_html(output)
        seconds = perf_counter() - started
        kilobytes, paints = page.stat().st_size / 1000, first_paints(page)
    about = arguments.run or f"4 models on {sizes['ratings']:,} ratings"
    print(f"page of {about}: {seconds:.1f} s with loading the data, {kilobytes:.0f} kB")
    for width, milliseconds in paints.items():
        print(f"first paint at {width} px: {milliseconds:.0f} ms")
    print(json.dumps({"seconds": seconds, "kilobytes": kilobytes, "first_paint_ms": paints}))


if __name__ == "__main__":
    main()
