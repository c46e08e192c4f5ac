"""The figures of an image model."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from recsys_ae.data.images import Images
from recsys_ae.images.base import Floats, ImageModel
from recsys_ae.images.probes import filters, n_layers, strongest_inputs
from recsys_ae.images.variational import VariationalImages
from recsys_ae.reporting.figures import activation_sheet, code_map, filter_sheet, image_grid, reconstruction_rows

SHOWN, UNITS, MAPPED, SAMPLED, STEPS = 10, 8, 1000, 100, 12
BEFORE_MAPPING = 50  # components to which wider codes are reduced first, because t-SNE is slow on them


def figures_of(model: ImageModel, images: Images) -> dict[str, Callable[[], Figure]]:
    """Functions that draw the figures of a fitted model, by name, from test images."""
    figures: dict[str, Callable[[], Figure]] = {
        "reconstructions": lambda: _reconstructions(model, images),
        "activations": lambda: _activations(model, images),
        "codes": lambda: code_map(*_mapped(model, images), images.class_names),
    }
    for layer in range(1, n_layers(model) + 1):
        figures[f"filters-{layer}"] = partial(filter_sheet, filters(model, layer))
    if isinstance(model, VariationalImages):
        figures["samples"] = lambda: image_grid(_as_images(model.sample(SAMPLED), images))
        if len(images.test) > 1:
            figures["walks"] = lambda: _walks(model, images)
    return figures


def _reconstructions(model: ImageModel, images: Images) -> Figure:
    originals = images.test[:SHOWN]
    corrupted = model.corrupt(originals)
    rows = {"original": originals, "corrupted": corrupted, "reconstructed": model.reconstruct(corrupted)}
    if corrupted is originals:  # the model does not corrupt its input
        del rows["corrupted"]
    return reconstruction_rows({name: _as_images(row, images) for name, row in rows.items()})


def _activations(model: ImageModel, images: Images) -> Figure:
    """Activations of all units, and strongest images of those with the largest standard deviation."""
    seen = images.test[:MAPPED]
    codes = model.encode(seen)
    units = np.sort(np.argsort(-codes.std(axis=0), kind="stable")[:UNITS])
    strongest = [_as_images(seen[best], images) for best in strongest_inputs(codes, units, SHOWN)]
    return activation_sheet(codes[:SHOWN], units.tolist(), strongest)


def _mapped(model: ImageModel, images: Images) -> tuple[Floats, NDArray[np.int64] | None]:
    """Codes in two dimensions, by t-SNE if they have more."""
    codes = model.encode(images.test[:MAPPED])
    if codes.shape[1] > BEFORE_MAPPING:
        codes = PCA(min(BEFORE_MAPPING, len(codes)), random_state=0).fit_transform(codes)
    if np.ptp(codes, axis=0).max() == 0:  # t-SNE would crash the process on identical codes
        codes = codes[:, :2]
    if codes.shape[1] > 2:
        codes = TSNE(perplexity=min(30, len(codes) / 4), init="pca", random_state=0).fit_transform(codes)
    points = np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
    return points, None if images.test_labels is None else images.test_labels[:MAPPED]


def _walks(model: VariationalImages, images: Images) -> Figure:
    """Interpolations from each of the first test images to the next."""
    walks = [model.walk(first, last, STEPS) for first, last in pairwise(images.test[: SHOWN + 1])]
    return image_grid(_as_images(np.concatenate(walks), images), columns=STEPS)


def _as_images(rows: Floats, images: Images) -> Floats:
    """Rows of pixels as images [n, channels, height, width]."""
    return rows.reshape(-1, *images.shape)
