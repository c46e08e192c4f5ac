import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import marimo as mo
    import numpy as np
    import pandas as pd

    import recsys_ae as ra
    from recsys_ae.data.cards import read_card
    from recsys_ae.data.images import load_images
    from recsys_ae.images.probes import angle_to_components, filters
    from recsys_ae.reporting.figures import filter_sheet, image_grid, reconstruction_rows

    return angle_to_components, filter_sheet, filters, image_grid, load_images, mo, np, pd, ra, read_card, reconstruction_rows


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # The lineage of image autoencoders

    From principal components to generated digits: each autoencoder here changes one thing about the ones before it. All of them
    use the encoder, losses, corruption and training loop of the recommenders.

    By default they learn from 1,438 small digits that come with scikit-learn. Set `dataset` to `"mnist"` for the digits of the
    papers, after `recsys-ae datasets fetch mnist`; the notebook then takes ten minutes or more.
    """)
    return


@app.cell
def _():
    dataset = "digits"
    epochs = 10
    return dataset, epochs


@app.cell
def _(dataset, image_grid, load_images, read_card):
    images = load_images(*read_card(dataset))
    train, test, shape = images.train[:10_000], images.test, images.shape
    labels = images.train_labels[:10_000]
    image_grid(test[:40].reshape(-1, *shape), columns=20)
    return images, labels, shape, test, train


@app.cell
def _(np, test):
    def error(model):
        """The mean squared error per pixel of reconstructed test images."""
        return float(np.mean(np.square(model.reconstruct(test) - test)))

    return (error,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Linear: principal components

    An autoencoder without nonlinearities, trained on the squared error, approaches the subspace of PCA, though not the same
    axes: its error comes close to that of PCA, and the largest angle between the two subspaces is small.
    """)
    return


@app.cell
def _(angle_to_components, error, pd, ra, shape, train):
    pca = ra.PrincipalComponents(components=10).fit(train, shape=shape)
    linear = ra.DenseAutoencoder(
        hidden=10,
        activation="identity",
        output="identity",
        loss="squared_error",
        epochs=300,
        learning_rate=0.01,
        learning_rate_decay=0.985,
    ).fit(train, shape=shape, seed=0)
    subspaces = pd.DataFrame(
        {
            "error": [error(pca), error(linear)],
            "angle to the components (degrees)": [angle_to_components(pca, train), angle_to_components(linear, train)],
        },
        index=["PCA", "linear autoencoder"],
    )
    subspaces.round(5)
    return pca, subspaces


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Nonlinear, tied and untied

    With 100 sigmoid units, the code is larger than that of PCA above. Tied weights mean that the decoder uses the encoder's
    matrix, transposed: almost half the parameters, and often a similar error.
    """)
    return


@app.cell
def _(epochs, error, pd, ra, shape, train):
    untied = ra.DenseAutoencoder(hidden=100, epochs=5 * epochs).fit(train, shape=shape, seed=0)
    tied = ra.DenseAutoencoder(hidden=100, tied=True, epochs=5 * epochs).fit(train, shape=shape, seed=0)
    pd.DataFrame({"error": [error(untied), error(tied)]}, index=["untied", "tied"]).round(5)
    return (tied,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Denoising

    A network that sees images with 30 % of the pixels set to 0, and has to reconstruct the whole ones, must learn which pixels
    go together. The rows show test images, their corrupted copies and the reconstructions of the copies.
    """)
    return


@app.cell
def _(epochs, np, ra, reconstruction_rows, shape, test, train):
    denoising = ra.DenseAutoencoder(hidden=100, tied=True, corruption="masking", noise=0.3, epochs=5 * epochs)
    denoising.fit(train, shape=shape, seed=0)
    corrupted = denoising.corrupt(test, seed=0)
    restored = denoising.reconstruct(corrupted)
    damage, rest = (float(np.mean(np.square(one - test))) for one in (corrupted, restored))
    reconstruction_rows(
        {
            name: rows[:12].reshape(-1, *shape)
            for name, rows in {"original": test, "corrupted": corrupted, "restored": restored}.items()
        }
    )
    return corrupted, damage, denoising, rest


@app.cell(hide_code=True)
def _(corrupted, damage, error, mo, np, rest, test, tied):
    _plain = float(np.mean(np.square(tied.reconstruct(corrupted) - test)))
    mo.md(f"""
    The corrupted images have an error of {damage:.4f}, and their reconstructions one of {rest:.4f}. The same network trained
    without corruption ends at {_plain:.4f} here, and at {error(tied):.4f} on whole images.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Filters

    What does a unit respond to? Each tile shows the weights from the pixels to a unit: on the left after training without
    corruption, on the right with it.
    """)
    return


@app.cell
def _(denoising, filter_sheet, filters, mo, tied):
    mo.hstack([filter_sheet(filters(tied)), filter_sheet(filters(denoising))])
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Sparse

    A penalty pulls the mean activation of each unit towards 0.1, so that few units describe each image. Compare the mean
    activation with that of the tied network above, whose code has no penalty.
    """)
    return


@app.cell
def _(epochs, error, mo, ra, shape, test, tied, train):
    sparse = ra.DenseAutoencoder(hidden=100, sparsity="kl", target=0.1, strength=1.0, epochs=5 * epochs)
    sparse.fit(train, shape=shape, seed=0)
    activity = {"tied": float(tied.encode(test).mean()), "sparse": float(sparse.encode(test).mean())}
    mo.md(f"Mean activation {activity['sparse']:.3f}, without a penalty {activity['tied']:.3f}; error {error(sparse):.4f}.")
    return activity, sparse


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Stacked

    Before deep networks could be trained from scratch, layers were trained one by one, each as an autoencoder of the codes
    of the layer below, and then fine-tuned together. Here they are fine-tuned to tell the ten digits apart, with only 100
    labelled images.
    """)
    return


@app.cell
def _(epochs, images, labels, np, pd, ra, shape, test, train):
    errors = {}
    for _label, _layer_epochs in {"pretrained": epochs, "from scratch": 0}.items():
        _stacked = ra.StackedAutoencoder(
            hidden=[100, 50],
            activation="relu",
            corruption="masking",
            noise=0.2,
            layer_epochs=_layer_epochs,
            fine_tune="classes",
            labels=100,
            epochs=epochs,
            batch_size=32,
        ).fit(train, labels, shape=shape, seed=0)
        errors[_label] = float(np.mean(_stacked.classify(test).argmax(axis=1) != images.test_labels))
    pd.DataFrame({"share of misclassified digits": errors}).round(4)
    return (errors,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Convolutional

    Convolutions use the same small filters everywhere in the image. This network removes Gaussian noise.
    """)
    return


@app.cell
def _(epochs, ra, reconstruction_rows, shape, test, train):
    convolutional = ra.ConvolutionalAutoencoder(channels=[16, 32], noise=0.3, epochs=epochs)
    convolutional.fit(train, shape=shape, seed=0)
    _noisy = convolutional.corrupt(test[:12], seed=0)
    reconstruction_rows(
        {
            name: rows.reshape(-1, *shape)
            for name, rows in {
                "original": test[:12],
                "noisy": _noisy,
                "restored": convolutional.reconstruct(_noisy),
            }.items()
        }
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Variational

    The code becomes a distribution, kept close to a standard normal one, so that random codes can be decoded. None of the
    digits below is in the data. Each row of the picture after that walks from the code of one test image to that of another.
    """)
    return


@app.cell
def _(epochs, image_grid, ra, shape, train):
    variational = ra.VariationalImages(hidden=[100, 50, 10], epochs=epochs, batch_size=32).fit(train, shape=shape, seed=0)
    generated = variational.sample(40, seed=0)
    image_grid(generated.reshape(-1, *shape), columns=20)
    return generated, variational


@app.cell
def _(image_grid, np, shape, test, variational):
    _walks = [variational.walk(test[_start], test[_end], 12) for _start, _end in ((0, 1), (2, 3), (4, 5))]
    image_grid(np.concatenate(_walks).reshape(-1, *shape), columns=12)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Errors

    A larger code, or less to do besides reconstructing, gives a lower error. The denoising, sparse and variational networks pay
    for what else they can do, so this is not a ranking.
    """)
    return


@app.cell
def _(denoising, error, pca, pd, sparse, tied, variational):
    pd.DataFrame(
        {"error": [error(model) for model in (pca, tied, denoising, sparse, variational)]},
        index=[
            "PCA, 10 numbers",
            "tied, 100 numbers",
            "denoising, 100 numbers",
            "sparse, 100 numbers",
            "variational, 10 numbers",
        ],
    ).round(4)
    return


if __name__ == "__main__":
    app.run()
