"""Export of lists against a bare NumPy script that does the same, and by two processes against one.

    python benchmarks/export.py                          # 200,000 users x 20,000 items, top-100, a few minutes
    python benchmarks/export.py --users 50000            # fewer users
    python benchmarks/export.py --smoke                  # smoke test on a tiny catalogue

The model is `pca` with 32 factors and without biases, on a synthetic history of 20 items per user. Its numbers are random,
because they do not matter here. The bare script computes the product of codes and components for 1,024 users at a time (fewer
if there are more than 16,384 items), sets the scores of seen items to -inf, takes the highest 100 by `argpartition` and
`argsort`, and writes a row group for each block with pyarrow. It has no manifest, no digests and no restart, and orders equal
scores arbitrarily. Each of the two runs in a process of its own and loads the same arrays; imports and loading count as memory,
but not as time. With `--repeat` they take turns, and the best time of each counts.

For shards, one process with one thread makes all lists. Then two such processes make half of them each, at the same time, and a
third one merges. The clock of the two starts once both have loaded their arrays and stops when both are done; the time of the
merge is added.

Prints a table; the last line is a JSON object with the time and the peak memory of the export over those of the bare script,
and the time of one process over that of two.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

K, FACTORS, SEEN = 100, 32, 20
USERS, ITEMS, PART_USERS = 200_000, 20_000, 8_192


def write_arrays(folder: Path, users: int, items: int) -> None:
    """Write the arrays of a history and of a model to a folder."""
    rng = np.random.default_rng(0)
    seen = min(SEEN, items)
    indices = np.sort((rng.integers(0, items, (users, 1)) + rng.permutation(items)[:seen]) % items, axis=1).astype(np.int32)
    np.save(folder / "indices.npy", indices.ravel())
    np.save(folder / "indptr.npy", np.arange(users + 1) * seen)
    np.save(folder / "components.npy", rng.normal(size=(items, FACTORS)).astype(np.float32))


def load(folder: Path) -> tuple[csr_array, np.ndarray]:
    """The history, all ones, and the components."""
    indices, indptr, components = (np.load(folder / f"{name}.npy") for name in ("indices", "indptr", "components"))
    matrix = csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(len(indptr) - 1, len(components)))
    return matrix, components


def wait_for_start() -> float:
    """Tell the parent process that all is loaded, wait until it gives the start, and return the time."""
    print("loaded", flush=True)
    sys.stdin.readline()
    return time.perf_counter()


def export_bare(folder: Path, output: Path) -> tuple[float, float]:
    """The script without this package; returns its start, after loading, and its end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    matrix, components = load(folder)
    n_users, n_items = matrix.shape
    started = wait_for_start()
    step, k = min(1024, max(1, 2**24 // n_items)), min(K, n_items)
    schema = pa.schema([("user_id", pa.int64()), ("rank", pa.int32()), ("item_id", pa.int64()), ("score", pa.float32())])
    with pq.ParquetWriter(output, schema, compression="zstd") as writer:
        for start in range(0, n_users, step):
            rows = matrix[start : start + step]
            scores = (rows @ components) @ components.T
            scores[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = -np.inf
            best = np.argpartition(scores, n_items - k, axis=1)[:, n_items - k :]
            values = np.take_along_axis(scores, best, axis=1)
            order = np.argsort(-values, axis=1)
            best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
            users = np.repeat(np.arange(start, start + rows.shape[0]), k)
            ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), rows.shape[0])
            writer.write_table(pa.table([users, ranks, best.ravel(), values.ravel()], schema=schema))
    return started, time.perf_counter()


def export(folder: Path, output: Path, shard: str = "1/1") -> tuple[float, float]:
    """The same by this package, or a shard of it; returns its start, after loading, and its end."""
    from recsys_ae import IdMap, Interactions, build_model
    from recsys_ae.export.local import export_request
    from recsys_ae.export.parts import WHOLE, Shard
    from recsys_ae.export.request import ListRequest
    from recsys_ae.export.shards import export_shard
    from recsys_ae.models.base import fitted_on

    matrix, components = load(folder)
    history = Interactions(matrix, IdMap(np.arange(matrix.shape[0])), IdMap(np.arange(matrix.shape[1])))
    model = build_model("pca", {"factors": FACTORS, "centring": "none"})
    arrays = {"components": components, "mean": np.zeros(1), "user_reg": np.ones(1), "items": np.zeros(len(components))}
    model.fitted = fitted_on(history, arrays, keep_scale=True)
    share = Shard.parse(shard)
    part_users = min(PART_USERS, -(-matrix.shape[0] // 8))  # both shards get parts, even for few users
    started = wait_for_start()
    request = ListRequest.of(model, history, K, part_users=part_users)
    export_request(request, output) if share == WHOLE else export_shard(request, output, share)
    return started, time.perf_counter()


def merge(_folder: Path, output: Path) -> tuple[float, float]:
    """The merge of the shards; returns its start and its end."""
    from recsys_ae.export.shards import merge_shards, shards_of

    started = wait_for_start()
    merge_shards(output, shards_of(output))
    return started, time.perf_counter()


def start(what: str, folder: Path, output: Path, **environment: str) -> subprocess.Popen[str]:
    """Start one of the functions above in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, "--data", str(folder), "--output", str(output)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, **environment}, **pipes)


def measure(*processes: subprocess.Popen[str]) -> tuple[float, float]:
    """Seconds from the first start to the last end, and the highest peak memory in MB."""
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    found = []
    for process in processes:
        out, err = process.communicate()
        if process.returncode:
            sys.exit(err)
        found.append(json.loads(out.splitlines()[-1]))
    starts, ends, peaks = zip(*found, strict=True)
    return max(ends) - min(starts), max(peaks)


def alone(what: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of the bare script or of the export."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        return measure(start(what, folder, Path(output) / "lists"))


def by_processes(folder: Path) -> tuple[float, float]:
    """Seconds of one process with one thread, and of two that make a shard each."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory(dir=folder) as output:
        one, _ = measure(start("export", folder, Path(output) / "whole", **threads))
        lists = Path(output) / "lists"
        two, _ = measure(*(start(f"shard {shard}", folder, lists, **threads) for shard in ("1/2", "2/2")))
        merging, _ = measure(start("merge", folder, lists, **threads))
    return one, two + merging


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    for name in ("measure", "data", "output"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, *shard = options.measure.split()
        function = {"bare": export_bare, "export": export, "shard": export, "merge": merge}[what]
        span = function(Path(options.data), Path(options.output), *shard)
        peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        print(json.dumps([*span, peak]))
        return
    users, items = (300, 200) if options.smoke else (options.users, options.items)
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder), users, items)
        found = {what: [alone(what, Path(folder)) for _ in range(options.repeat)] for what in ("bare", "export")}
        shards = [by_processes(Path(folder)) for _ in range(options.repeat)]
    best = {what: [min(values) for values in zip(*runs, strict=True)] for what, runs in found.items()}
    one, two = (min(seconds) for seconds in zip(*shards, strict=True))
    print(f"{users} users x {items} items, top-{K}")
    for what, (seconds, memory) in best.items():
        print(f"{what:14} {seconds:8.1f} s  {memory:8.0f} MB")
    print(f"{'one process':14} {one:8.1f} s\n{'two processes':14} {two:8.1f} s")
    ratios = [round(first / second, 3) for first, second in zip(best["export"], best["bare"], strict=True)]
    figures = {"over_bare_script": ratios[0], "memory_over_bare_script": ratios[1], "shards_speedup": round(one / two, 3)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
