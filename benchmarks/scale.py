"""Time and memory by the number of events: from a Parquet log to an epoch of each model.

    python benchmarks/scale.py                                       # 1, 3 and 10 million events, all models
    python benchmarks/scale.py --millions 1 10 100 --models elsa     # 100 million events take minutes
    python benchmarks/scale.py --models                              # the data alone
    python benchmarks/scale.py --smoke                               # tiny sizes

The logs are planted: 100 events per user on average, 100,000 items in clusters, of which every user likes a few, events in the
order of time, no pair twice. They are written once to a folder (`--folder`, otherwise a temporary one). Each row of the first
table is a process that reads a log into a matrix and splits off the last event of each user; the training parts are saved.
Each row of the second table is a process that opens one, mapped into memory, and trains a model. The time of an epoch is that
of the trainer; `sparse_ease` has none, so its time is that of the fit. Memory is the peak of the process in GB, with the pages
of mapped files that the system keeps because nothing else needs the memory.

An exponent is the slope of log(time) over log(events): 1 is a line. Prints the tables; the last line is a JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PER_USER, ITEMS, CLUSTERS, LIKED = 100, 100_000, 1000, 4
PARTS = 100  # of a log, each a period of time with items of its own, so that no pair is in two of them
MODELS: dict[str, dict[str, Any]] = {
    "elsa": {"factors": 64, "epochs": 1},
    "cdae": {"epochs": 1},
    "user_autorec": {"axis": "user", "hidden": [64], "epochs": 1},
    "item_autorec": {"axis": "item", "hidden": [64], "epochs": 1},
    "sparse_ease": {"neighbours": 50, "shared": 5},
}


def write_log(path: Path, events: int, items: int) -> None:
    """Write about `events` events to a Parquet file, part by part."""
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("rating", pa.float32()), ("time", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in planted_parts(max(events // PER_USER, 2), events, items):
            writer.write_table(pa.table(part, schema))


def planted_parts(users: int, events: int, items: int) -> Iterator[dict[str, Any]]:
    """The columns of each part of a log, see above."""
    rng = np.random.default_rng(0)
    parts = min(PARTS, items // 10)
    activity = np.cumsum(rng.lognormal(0, 0.7, users))
    liked, clusters = rng.integers(0, CLUSTERS, (users, LIKED)), rng.integers(0, CLUSTERS, items)
    popularity = rng.permutation(1 / (np.arange(items) + 100))
    for number in range(parts):
        own = np.arange(number, items, parts)  # the items of this part, by cluster
        own = own[np.argsort(clusters[own], kind="stable")]
        reach = np.r_[0, np.cumsum(popularity[own])]
        bounds = reach[np.searchsorted(clusters[own], np.arange(CLUSTERS + 1))]
        tries = int(1.1 * events / parts)  # some pairs are drawn repeatedly
        user = np.searchsorted(activity, rng.random(tries) * activity[-1])
        cluster = liked[user, rng.integers(0, LIKED, tries)]
        low, high = bounds[cluster], bounds[cluster + 1]
        anywhere = (rng.random(tries) < 0.3) | (low == high)
        low, high = np.where(anywhere, 0, low), np.where(anywhere, reach[-1], high)
        item = own[np.minimum(np.searchsorted(reach, low + (high - low) * rng.random(tries), side="right") - 1, len(own) - 1)]
        pairs = rng.permutation(np.unique(user * items + item))[: events // parts]
        times = np.sort(rng.integers(0, 10**6, len(pairs))) + 1_600_000_000 + 10**6 * number
        rating = rng.integers(1, 6, len(pairs)).astype(np.float32)
        yield {"user_id": pairs // items, "item_id": pairs % items, "rating": rating, "time": times}


def prepare(path: str, folder: str, protocol: str) -> dict[str, float]:
    """Seconds of reading, matrix included, and of the split, and the peak after each; the training part is saved."""
    from recsys_ae import read_interactions, save_interactions
    from recsys_ae.splitting import SPLITS

    clock = [time.perf_counter()]
    data = read_interactions(path)
    clock.append(time.perf_counter())
    found = {"events": len(data), "read_s": clock[1] - clock[0], "read_gb": peak_memory()}
    split = SPLITS.get(protocol)(data)
    found |= {"split_s": time.perf_counter() - clock[1], "peak_gb": peak_memory()}
    if folder:
        save_interactions(split.train, folder)
    return found


def train(name: str, folder: str) -> dict[str, float]:
    """Seconds of the epoch, or of the fit without epochs, and the peak."""
    from recsys_ae import build_model, open_interactions
    from recsys_ae.core.trainer import Callback, Training

    epochs = []

    class Clock(Callback):
        def on_epoch(self, training: Training[Any]) -> None:
            epochs.append(training.history[-1].seconds)

    data = open_interactions(folder)
    model = build_model(name.removeprefix("user_").removeprefix("item_"), MODELS[name])
    started = time.perf_counter()
    model.fit(data, seed=0, callbacks=[Clock()])
    fit_s = time.perf_counter() - started
    return {"events": len(data), "fit_s": fit_s, "epoch_s": epochs[-1] if epochs else fit_s, "peak_gb": peak_memory()}


def peak_memory() -> float:
    """Peak memory of this process in GB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e9


def in_child(work: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", json.dumps([work.__name__, *arguments])]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]))


def exponent(rows: list[dict[str, float]], figure: str) -> float | None:
    """The slope of log(figure) over log(events); None with a single size."""
    if len(rows) < 2:
        return None
    events, seconds = (np.log([row[name] for row in rows]) for name in ("events", figure))
    return round(float(np.polyfit(events, seconds, 1)[0]), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", nargs="+", type=float, default=[1, 3, 10], help="sizes of the logs, default: 1 3 10")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"size of the catalogue, default: {ITEMS}")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS), help="default: all")
    parser.add_argument("--split", default="leave_last", help="the protocol, default: leave_last")
    parser.add_argument("--folder", type=Path, help="where logs and training parts are kept, instead of a temporary folder")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work, *arguments = json.loads(options.child)
        print(json.dumps({"prepare": prepare, "train": train}[work](*arguments)))
        return
    if options.smoke:
        options.millions, options.items, options.models = [0.002, 0.004], 500, ["elsa"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(sorted(options.millions), options.items, options.models, options.split, folder)
    print(json.dumps(figures))


def measure(millions: list[float], items: int, models: list[str], protocol: str, folder: Path) -> dict[str, Any]:
    """Print the tables, and return the figures of the largest size, and the exponents over all sizes."""
    prepared, trained = [], {name: list[dict[str, float]]() for name in models}
    print(f"{'events':>12}{'read s':>10}{'GB':>8}{'split s':>10}{'GB':>8}", flush=True)
    for size in millions:
        log, part = folder / f"{size:g}.parquet", folder / f"{size:g}-train"
        if not log.exists():
            write_log(log, round(size * 1e6), items)
        prepared.append(one := in_child(prepare, str(log), str(part) if models else "", protocol))
        numbers = f"{one['read_s']:10.1f}{one['read_gb']:8.2f}{one['split_s']:10.1f}{one['peak_gb']:8.2f}"
        print(f"{one['events']:12}{numbers}", flush=True)
    print(f"\n{'model':16}{'events':>12}{'epoch s':>10}{'fit s':>10}{'GB':>8}" if models else "", flush=True)
    for name, size in ((name, size) for name in models for size in millions):
        trained[name].append(one := in_child(train, name, str(folder / f"{size:g}-train")))
        numbers = f"{one['epoch_s']:10.1f}{one['fit_s']:10.1f}{one['peak_gb']:8.2f}"
        print(f"{name:16}{one['events']:12}{numbers}", flush=True)
    figures: dict[str, Any] = {name: round(value, 3) for name, value in prepared[-1].items()}
    for stage in ("read_s", "split_s"):
        figures[f"{stage}_exponent"] = exponent(prepared, stage)
    for name, rows in trained.items():
        figures |= {f"{name}_epoch_s": round(rows[-1]["epoch_s"], 2), f"{name}_gb": round(rows[-1]["peak_gb"], 3)}
        figures[f"{name}_exponent"] = exponent(rows, "epoch_s")
    exponents = [value for name, value in figures.items() if name.endswith("_exponent") and value is not None]
    return figures | {"time_exponent": max(exponents, default=None)}


if __name__ == "__main__":
    main()
