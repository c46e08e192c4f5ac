import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import marimo as mo
    import pandas as pd

    import recsys_ae as ra
    from recsys_ae.data.planted import planted_sessions
    from recsys_ae.splitting import last_session

    return last_session, mo, pd, planted_sessions, ra


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # What comes next in a session

    A log of clicks has more to it than who clicked what: the order. This notebook measures what the order adds, and shows how a
    list changes while a session goes on.
    """)
    return


@app.cell
def _():
    n_users, gru_epochs = 400, 8
    return gru_epochs, n_users


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## A log of sessions

    The sessions are generated. Each has a hidden topic, which decides which item usually follows which, and the topics of a
    user mostly take turns in a fixed order. Because the rule is known, so are the best figures that any model can reach.
    """)
    return


@app.cell
def _(last_session, n_users, planted_sessions):
    log, process = planted_sessions(users=n_users, items=40, sessions=8, seed=12)
    split = last_session(log, valid=1)
    log.to_frame().head()
    return log, process, split


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## What order adds

    `last_session` holds out the last session of each user. Every event of it, except the first, is predicted from all earlier
    events of the user. `recall@1` is the share of events whose item is first in the list; `mrr@20` also counts lower ranks.
    """)
    return


@app.cell
def _(gru_epochs, pd, process, ra, split):
    metrics = ["recall@1", "mrr@20"]
    models = {
        "popularity": ra.Popularity(),
        "vsknn": ra.VSKNN(),
        "slist": ra.SLIST(),
        "gru": ra.SessionGRU(epochs=gru_epochs),
    }
    for _model in models.values():
        _model.fit(split.train, valid=split.valid, seed=0)
    _values = {label: ra.evaluate(model, split, metrics).metrics for label, model in models.items()}
    results = pd.DataFrame(_values | {"best possible": process.best(split, metrics)}).T
    results.round(4)
    return models, results


@app.cell
def _(results):
    _axes = results.plot.barh(figsize=(7, 3))
    _axes.figure.tight_layout()
    _axes.figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    Popularity gives everyone the same list. `vsknn` looks for similar sessions, and `slist` learns which items come after
    which; both know only the current session. `gru` also reads the earlier sessions of the user, which here suggest what the
    topic will be; how much that helps depends on the log, and on enough training.

    ## One session

    The table follows the last session of the first user, event by event: what `slist` and `gru` would have shown before each
    event. As the session goes on, the last item changes, and with it the list.
    """)
    return


@app.cell
def _(log, models, pd, ra, split):
    user = split.test.users.values[0]
    _held_out = split.test.log
    _own = _held_out.users == 0
    _rows = []
    for _time, _item in zip(_held_out.times[_own][1:], _held_out.items[_own][1:], strict=True):
        _before = log.filter_events(log.log.times < _time)
        _lists = {
            label: ra.recommend(models[label], _before, users=[user], k=5, exclude_seen=False).to_frame()["item_id"].tolist()
            for label in ("slist", "gru")
        }
        _last = log.items.values[_before.log.items[_before.log.users == 0][-1]]
        _rows.append({"last item": _last, "next item": log.items.values[_item], **_lists})
    unfolding = pd.DataFrame(_rows)
    unfolding
    return (unfolding,)


@app.cell(hide_code=True)
def _(mo, unfolding):
    _first = {
        label: sum(ranked[0] == item for ranked, item in zip(unfolding[label], unfolding["next item"], strict=True))
        for label in ("slist", "gru")
    }
    mo.md(f"""
    Of the {len(unfolding)} items that came next, `slist` had {_first["slist"]} in first place and `gru` {_first["gru"]}. Lists
    may contain seen items (`exclude_seen=False`), because people come back to items. No model was fitted again: new events are
    used at once.
    """)
    return


if __name__ == "__main__":
    app.run()
