"""The other side of `ranking_models.py`: RecBole's models, and three more implementations of EASE.

Runs in an environment with those packages and without this one, so it imports nothing from this package. A job is a JSON object
on standard input; the result is a JSON object on the last line of standard output. With `--smoke` it only says which packages
are missing.
"""

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "cdae": ("CDAE", {"embedding_size": 64}),
    "multdae": ("MultiDAE", {"mlp_hidden_size": [600], "latent_dimension": 200}),
    "multvae": ("MultiVAE", {"mlp_hidden_size": [600], "latent_dimension": 400}),  # 200 means and 200 log variances
    "recvae": ("RecVAE", {"hidden_dimension": 600, "latent_dimension": 200}),
}
DATASET, PARTS = "ml-1m", ("train", "valid", "test")


def inter_file(folder: str, part: str) -> Path:
    """Where RecBole looks for a part of the data."""
    return Path(folder, DATASET, f"{DATASET}.{part}.inter")


def read_part(folder: str, part: str) -> pd.DataFrame:
    """The columns user_id and item_id of a part."""
    return pd.read_csv(inter_file(folder, part), sep="\t", skiprows=1, names=["user_id", "item_id"])


def peak_memory() -> float:
    """Peak memory of this process in MiB. In a child process, getrusage would return the peak of the parent."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10


def torch_memory() -> float:
    """Peak memory in MiB of a process that only imports PyTorch."""
    code = "import torch; print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) / 2**10


def fit_times(fit: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each of `times` fits."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        fit()
        seconds.append(time.perf_counter() - started)
    return seconds


def recbole(job: dict[str, Any], name: str, params: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A RecBole configuration with its training and validation data."""
    settings = {
        **params,
        "data_path": job["folder"],
        "benchmark_filename": list(PARTS),
        "checkpoint_dir": job["folder"],
        "use_gpu": False,
        "show_progress": False,
        "seed": 1,
        "epochs": job["epochs"],
        "stopping_step": job["patience"],
        "train_batch_size": job["batch_size"],  # users, for all the autoencoders
        "eval_batch_size": 1024 * job["n_items"],  # pairs of user and item
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 6,
    }
    config = import_module("recbole.config").Config(model=name, dataset=DATASET, config_dict=settings)
    import_module("recbole.utils").init_seed(config["seed"], config["reproducibility"])
    data = import_module("recbole.data")
    train, valid, _ = data.data_preparation(config, data.create_dataset(config))
    return config, train, valid


def autoencoder(job: dict[str, Any]) -> dict[str, Any]:
    """Train one of RecBole's autoencoders with its own trainer, without checkpoints; validates only if the job says so."""
    name, params = MODELS[job["model"]]
    if find_spec("recbole") is None:
        return {"missing": "recbole"}
    config, train, valid = recbole(job, name, params)
    utils = import_module("recbole.utils")
    started = time.perf_counter()
    trainer = utils.get_trainer(config["MODEL_TYPE"], name)(config, utils.get_model(name)(config, train._dataset))
    seconds: list[float] = []
    run_epoch = trainer._train_epoch

    def timed_epoch(*args: Any, **options: Any) -> Any:
        before = time.perf_counter()
        loss = run_epoch(*args, **options)
        seconds.append(time.perf_counter() - before)
        return loss

    trainer._train_epoch = timed_epoch
    validated: list[tuple[float, float]] = []  # score, seconds since the start
    trainer.fit(
        train,
        valid if job["validate"] else None,
        verbose=False,
        saved=False,
        callback_fn=lambda _, score: validated.append((float(score), time.perf_counter() - started)),
    )
    result: dict[str, Any] = {"seconds": seconds, "peak": peak_memory()}
    if validated:
        best = max(range(len(validated)), key=lambda epoch: validated[epoch][0])
        result |= {"ndcg": validated[best][0], "until_best": validated[best][1], "best_epoch": best + 1}
    return result


def recbole_ease(job: dict[str, Any]) -> Callable[[], Any]:
    """RecBole fits EASE in the constructor of the model."""
    config, train, _ = recbole(job, "EASE", {"reg_weight": job["l2"]})
    model = import_module("recbole.utils").get_model("EASE")
    return lambda: model(config, train._dataset).item_similarity


def numpy_ease(job: dict[str, Any]) -> Callable[[], Any]:
    """EASE written by hand: a sparse product, an inverse and a division, in float32."""
    from scipy.sparse import csr_array

    frame = read_part(job["folder"], "train")
    users, items = (np.unique(frame[name], return_inverse=True)[1] for name in ("user_id", "item_id"))
    matrix = csr_array((np.ones(len(frame), np.float32), (users, items)))

    def fit() -> Any:
        gram = (matrix.T @ matrix).toarray()
        gram[np.diag_indices(len(gram))] += np.float32(job["l2"])
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0)
        return weights

    return fit


def lenskit_ease(job: dict[str, Any]) -> Callable[[], Any]:
    """LensKit."""
    ease, data = import_module("lenskit.knn.ease"), import_module("lenskit.data")
    dataset = data.from_interactions_df(read_part(job["folder"], "train"))

    def fit() -> Any:
        model = ease.EASEScorer(regularization=job["l2"])
        model.train(dataset)
        return model.weights

    return fit


def rectools_ease(job: dict[str, Any]) -> Callable[[], Any]:
    """RecTools."""
    models, data = import_module("rectools.models"), import_module("rectools.dataset")
    frame = read_part(job["folder"], "train").assign(weight=1.0, datetime=pd.Timestamp(0))
    dataset = data.Dataset.construct(frame)
    return lambda: models.EASEModel(regularization=job["l2"]).fit(dataset).weight


EASE: dict[str, Callable[[dict[str, Any]], Callable[[], Any]]] = {
    "numpy": numpy_ease,
    "recbole": recbole_ease,
    "lenskit": lenskit_ease,
    "rectools": rectools_ease,
}


def ease(job: dict[str, Any]) -> dict[str, Any]:
    """Fit one implementation of EASE several times; the sum of absolute weights shows whether all find the same solution."""
    try:
        fit = EASE[job["peer"]](job)
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    seconds = fit_times(fit, job["epochs"])
    peak = peak_memory()
    return {"seconds": seconds, "peak": peak, "weights": float(np.abs(np.asarray(fit())).sum(dtype=np.float64))}


def say_what_is_missing(peers: Iterable[str]) -> None:
    """Print which peers this environment lacks."""
    missing = [name for name in peers if find_spec(name) is None]
    print(f"all peers are installed in {sys.prefix}" if not missing else f"{sys.prefix} has no {', '.join(missing)}")


def main() -> None:
    if sys.argv[1:] == ["--smoke"]:
        say_what_is_missing(("recbole", "lenskit", "rectools"))
        return
    warnings.filterwarnings("ignore")
    job = json.load(sys.stdin)
    found = ease(job) if job["model"] == "ease" else autoencoder(job)
    print(json.dumps(found if "missing" in found else found | {"torch": torch_memory()}))


if __name__ == "__main__":
    main()
