"""The other side of `libraries.py`: RecBole, RecTools, LensKit, Cornac, implicit and WarpRec from a log to lists for all users.

Runs in an environment with one of those packages and without this one, so it imports nothing from this package. A job is a JSON
object on standard input: the library, the folder of the data, and the settings. The lists are written to the job's file, and
the result is a JSON object on the last line of standard output: the seconds until the data are prepared (imports included), of
the fit and of the recommendation, the peak memory and the version. With `--smoke` it only says which packages are missing.
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402 - the clock starts before the imports
import sys  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from importlib import import_module  # noqa: E402
from importlib.metadata import version  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from recbole_peer import peak_memory, say_what_is_missing  # noqa: E402

BLOCK = 1024  # users scored at once, where the library leaves it to its user
Job = dict[str, Any]
Lists = tuple[Any, Any]  # ids of users, and of the items at each rank: in rows [U], [U, K], or one of each for every place
Recommend = Callable[[], Lists]
Fit = Callable[[], Recommend]


def log_of(job: Job) -> pd.DataFrame:
    """Columns user_id and item_id of the training part."""
    return pd.read_csv(Path(job["folder"], "train.csv"))


def recbole(job: Job) -> Fit:
    """Reads its own files. The constructor of EASE fits it; users are scored in blocks by its own function for lists."""
    settings = {
        "data_path": job["folder"],
        "benchmark_filename": ["train", "valid", "test"],
        "checkpoint_dir": job["folder"],
        "use_gpu": False,
        "show_progress": False,
        "reg_weight": job["l2"],
        "metrics": ["NDCG"],
        "topk": [job["k"]],
        "valid_metric": f"NDCG@{job['k']}",
        "eval_batch_size": 2**22,
    }
    config = import_module("recbole.config").Config(model="EASE", dataset="log", config_dict=settings)
    data, study = import_module("recbole.data"), import_module("recbole.utils.case_study")
    dataset = data.create_dataset(config)
    train, _, test = data.data_preparation(config, dataset)

    def fit() -> Recommend:
        model = import_module("recbole.utils").get_model("EASE")(config, train._dataset)

        def recommend() -> Lists:
            rows = np.arange(1, dataset.user_num)  # row 0 is padding
            blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
            found = [study.full_sort_topk(block, model, test, k=job["k"])[1].numpy() for block in blocks]
            users, items = (dataset.id2token(field, ids) for field, ids in (("user_id", rows), ("item_id", np.vstack(found))))
            return users.astype(np.int64), items.astype(np.int64)

        return recommend

    return fit


def rectools(job: Job) -> Fit:
    """From a data frame to a data frame."""
    models, frame = import_module("rectools.models"), log_of(job).assign(weight=1.0, datetime=pd.Timestamp(0))
    dataset = import_module("rectools.dataset").Dataset.construct(frame)
    if job["model"] == "als":
        als = import_module("implicit.als").AlternatingLeastSquares(**implicit_settings(job))
        model = models.ImplicitALSWrapperModel(als)
    else:
        model = models.EASEModel(regularization=job["l2"], recommend_n_threads=2)

    def fit() -> Recommend:
        model.fit(dataset)

        def recommend() -> Lists:
            found = model.recommend(frame["user_id"].unique(), dataset, k=job["k"], filter_viewed=True)
            return found["user_id"].to_numpy(), found["item_id"].to_numpy()

        return recommend

    return fit


def lenskit(job: Job) -> Fit:
    """Its pipeline for lists, run for all users by its batch runner."""
    batch, pipeline = import_module("lenskit.batch"), import_module("lenskit.pipeline")
    if job["model"] == "als":
        options = {"embedding_size": job["factors"], "regularization": job["als_l2"], "weight": job["alpha"]}
        scorer = import_module("lenskit.als").ImplicitMFScorer(**options, epochs=job["epochs"])
    else:
        scorer = import_module("lenskit.knn.ease").EASEScorer(regularization=job["l2"])
    dataset = import_module("lenskit.data").from_interactions_df(log_of(job))
    lists = pipeline.topn_pipeline(scorer)

    def fit() -> Recommend:
        lists.train(dataset)

        def recommend() -> Lists:
            found = batch.recommend(lists, dataset.users.ids(), n=job["k"], n_jobs=job["processes"]).to_df()
            return found["user_id"].to_numpy(), found["item_id"].to_numpy()

        return recommend

    return fit


def cornac(job: Job) -> Fit:
    """From triples; lists are made for one user at a time."""
    frame = log_of(job)
    triples = list(zip(frame["user_id"], frame["item_id"], np.ones(len(frame)), strict=True))
    dataset = import_module("cornac.data").Dataset.from_uir(triples)
    model = import_module("cornac.models").EASE(lamb=job["l2"], posB=False, verbose=False)

    def fit() -> Recommend:
        model.fit(dataset)

        def recommend() -> Lists:
            users = list(dataset.user_ids)
            items = [model.recommend(user, k=job["k"], remove_seen=True, train_set=dataset) for user in users]
            return np.array(users), np.array(items)

        return recommend

    return fit


def implicit_settings(job: Job) -> dict[str, Any]:
    names = {"factors": "factors", "regularization": "als_l2", "alpha": "alpha", "iterations": "epochs"}
    return {name: job[own] for name, own in names.items()} | {"random_state": 1, "num_threads": 2}


def implicit(job: Job) -> Fit:
    """From a sparse matrix, made from the log by pandas and SciPy, to rows of it."""
    frame, sparse = log_of(job), import_module("scipy.sparse")
    (users, user_ids), (items, item_ids) = (pd.factorize(frame[name], sort=True) for name in ("user_id", "item_id"))
    matrix = sparse.csr_matrix((np.ones(len(frame), np.float32), (users, items)))
    model = import_module("implicit.als").AlternatingLeastSquares(**implicit_settings(job))

    def fit() -> Recommend:
        model.fit(matrix, show_progress=False)

        def recommend() -> Lists:
            found, _ = model.recommend(np.arange(len(user_ids)), matrix, N=job["k"], filter_already_liked_items=True)
            return np.asarray(user_ids), np.asarray(item_ids)[found]

        return recommend

    return fit


def warprec(job: Job) -> Fit:
    """Its data set, model, mask of seen items and ranking, called directly: its pipelines would start a Ray cluster."""
    torch, entities = import_module("torch"), import_module("warprec.data.ranking")
    dataset = import_module("warprec.data.dataset").Dataset(log_of(job))
    model_class = import_module("warprec.recommenders.collaborative_filtering_recommender.autoencoder.ease").EASE

    def fit() -> Recommend:
        model = model_class({"l2": job["l2"]}, dataset.info(), dataset.train_set)

        def recommend() -> Lists:
            matrix = dataset.train_set.get_sparse()
            seen, rows, found = entities.SeenItems(matrix, "cpu"), torch.arange(matrix.shape[0]), []
            for block in rows.split(BLOCK):
                with torch.inference_mode():
                    scores = model.predict(user_indices=block)
                    seen.mask(scores, block)
                    found.append(entities.rank_top_k(scores, job["k"])[1].numpy())
            users, items = dataset.get_inverse_mappings()
            ids = np.array([items[row] for row in range(len(items))])
            return np.array([users[row] for row in range(len(users))]), ids[np.vstack(found)]

        return recommend

    return fit


LIBRARIES: dict[str, Callable[[Job], Fit]] = {
    "recbole": recbole,
    "rectools": rectools,
    "lenskit": lenskit,
    "cornac": cornac,
    "implicit": implicit,
    "warprec": warprec,
}


def timed(job: Job, started: float, prepare: Callable[[Job], Fit]) -> dict[str, Any]:
    """Prepare, fit and recommend; write the lists to the job's file and return seconds and memory."""
    fit = prepare(job)
    prepared = time.perf_counter()
    recommend = fit()
    fitted = time.perf_counter()
    users, items = recommend()
    ended, peak = time.perf_counter(), peak_memory()
    np.savez(job["file"], users=users, items=items)
    return {"prepare": prepared - started, "fit": fitted - prepared, "recommend": ended - fitted, "peak": peak}


def main() -> None:
    if "--smoke" in sys.argv:
        say_what_is_missing(LIBRARIES)
        return
    warnings.simplefilter("ignore")
    job, sys.argv = json.load(sys.stdin), sys.argv[:1]  # RecBole reads the arguments
    if find_spec(job["library"]) is None:
        print(json.dumps({"missing": job["library"]}))
        return
    result = timed(job, STARTED, LIBRARIES[job["library"]])
    print("\n" + json.dumps(result | {"version": version(job["library"])}))


if __name__ == "__main__":
    main()
