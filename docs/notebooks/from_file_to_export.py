import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import tempfile
    from pathlib import Path

    import marimo as mo
    import pandas as pd

    import recsys_ae as ra
    from recsys_ae.data.planted import planted_ratings
    from recsys_ae.evaluation.uncertainty.sample import Sample
    from recsys_ae.evaluation.uncertainty.statistics import compare
    from recsys_ae.export.request import ListRequest
    from recsys_ae.export.verification import verify_lists
    from recsys_ae.splitting import per_user

    return ListRequest, Path, Sample, compare, mo, pd, per_user, planted_ratings, ra, tempfile, verify_lists


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # From a file to exported lists

    You have a log of ratings and want a list of recommendations for each user. This notebook reads the log, compares four
    models on it, asks why an item is on a list, saves a model, and exports and verifies the lists.
    """)
    return


@app.cell
def _():
    n_users, n_items, n_ratings = 800, 400, 30_000
    return n_items, n_ratings, n_users


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## A log

    The log is generated, so that nothing has to be downloaded: users have tastes, and mostly rate what they like. Its columns
    have names of their own, as in real files. To use your own log, replace `path` here and the names of the columns in the
    next cell.
    """)
    return


@app.cell
def _(Path, n_items, n_ratings, n_users, planted_ratings, tempfile):
    workplace = tempfile.TemporaryDirectory()  # removed when the notebook ends
    folder = Path(workplace.name)
    path = folder / "log.csv"
    _ratings, _ = planted_ratings(n_users, n_items, n_ratings, seed=0)
    _names = {"user_id": "Customer No.", "item_id": "SKU", "rating": "how good?"}
    _ratings.to_frame()[list(_names)].rename(columns=_names).to_csv(path, index=False)
    return folder, path


@app.cell
def _(path, pd, ra):
    frame = pd.read_csv(path)
    ratings = ra.Interactions.from_frame(frame, user="Customer No.", item="SKU", rating="how good?", scale=(1, 5))
    likes = ratings.binarise(4)
    frame.head()
    return (likes,)


@app.cell(hide_code=True)
def _(likes, mo):
    mo.md(f"""
    `binarise(4)` keeps ratings of 4 and 5 as likes and drops the rest: {len(likes):,} likes of {likes.n_users} users and
    {likes.n_items} items. The lists should rank what users will like, so this is what the models learn.

    ## A fair comparison

    A fifth of each user's likes is held out for the test, and a tenth of the rest to choose when to stop training. All models
    learn from the same training part, and rank the whole catalogue except the items that the user is known to like.
    """)
    return


@app.cell
def _(likes, per_user, ra):
    split = per_user(likes, test=0.2, valid=0.1, seed=0)
    models = {"popularity": ra.Popularity(), "itemknn": ra.ItemKNN(), "ease": ra.EASE(), "elsa": ra.ELSA()}
    reports = {}
    for _label, _model in models.items():
        _model.fit(split.train, valid=split.valid, seed=0)
        reports[_label] = ra.evaluate(_model, split, ["ndcg@10", "recall@20"])
    return models, reports, split


@app.cell
def _(Sample, compare, pd, reports):
    (findings,) = compare([Sample([report.per_user["ndcg@10"] for report in reports.values()])])
    results = pd.DataFrame(
        {
            "ndcg@10": findings.metrics,
            "low": [low for low, _ in findings.intervals],
            "high": [high for _, high in findings.intervals],
            "letters": findings.letters,
            "recall@20": [report.metrics["recall@20"] for report in reports.values()],
        },
        index=pd.Index(reports, name="model"),
    )
    results.round(4)
    return findings, results


@app.cell(hide_code=True)
def _(findings, mo):
    mo.md(f"""
    `low` and `high` are the ends of the 95 % interval over users. Models that share a letter cannot be told apart by these
    {findings.n_users} users; the tests are paired, so two models may differ even if their intervals overlap. First check which
    models beat popularity. Differences below about {findings.smallest[0]:.3f} would be too small for this test part to show,
    even between the two most similar models.
    """)
    return


@app.cell
def _(results):
    _axes = results["ndcg@10"].plot.barh(
        xerr=[results["ndcg@10"] - results["low"], results["high"] - results["ndcg@10"]], xlabel="ndcg@10", figsize=(7, 2.5)
    )
    _axes.figure.tight_layout()
    _axes.figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## One user

    These are the recommendations of EASE for the first user. `recommend` leaves out the items in the history.
    """)
    return


@app.cell
def _(models, ra, split):
    history = split.history("test")
    user = history.users.values[0]
    top = ra.recommend(models["ease"], history, users=[user], k=5).to_frame()
    top
    return history, top, user


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    Why is the first item on the list? EASE is linear: each item of the history adds its weight to the score. The last
    row, without an item, is the part of the score that does not depend on the history. A negative contribution means that
    people who like that item tend not to like this one.
    """)
    return


@app.cell
def _(history, models, ra, top, user):
    reasons = ra.explain(models["ease"], history, user, top["item_id"][0])
    reasons.head()
    return (reasons,)


@app.cell(hide_code=True)
def _(mo, reasons, top):
    mo.md(f"""
    The {len(reasons)} rows add up to {reasons["contribution"].sum():.4f}; the score in the list is
    {top["score"][0]:.4f}.

    ## A saved model

    For the lists that are shipped, the model is fitted once more, on all likes. Save and load it: it is still the
    same model.
    """)
    return


@app.cell
def _(folder, likes, ra):
    ra.save_model(ra.EASE().fit(likes, seed=0), folder / "model")
    final = ra.load_model(folder / "model")
    final
    return (final,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Exported lists

    The folder `lists` appears only once it is complete, with a manifest that says what the lists were made from. `verify_lists`
    checks the files and ranks, and makes the lists of a sample of users again. On the command line, `recsys-ae export` and
    `recsys-ae verify` do the same.
    """)
    return


@app.cell
def _(ListRequest, final, folder, likes, ra, verify_lists):
    manifest = ra.export_recommendations(final, likes, folder / "lists", k=10)
    checks = verify_lists(folder / "lists", ListRequest.of(final, likes, 10))
    wrong = [check for check in checks if check.wrong]
    print(*checks, sep="\n")
    return manifest, wrong


@app.cell
def _(folder, manifest, mo, ra, wrong):
    lists, _k = ra.read_recommendations(folder / "lists")
    mo.vstack([mo.md(f"{manifest.rows:,} rows for {manifest.n_users} users; {len(wrong)} checks failed."), lists.head(10)])
    return (lists,)


if __name__ == "__main__":
    app.run()
