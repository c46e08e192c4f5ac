"""The pictures that a pipeline of images leaves of each model."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from recsys_ae.data.images import Images
from recsys_ae.files import whole_folder
from recsys_ae.images.base import Floats, ImageModel, fitted_images
from recsys_ae.images.probes import filters, n_layers, strongest_inputs
from recsys_ae.images.variational import VariationalImages
from recsys_ae.reporting.figures import (
    activation_sheet,
    code_map,
    filter_sheet,
    image_grid,
    loss_curves,
    reconstruction_rows,
    save_figure,
)

SHOWN, UNITS, MAPPED, SAMPLED, STEPS = 10, 8, 1000, 100, 12
BEFORE_MAPPING = 50  # components to which wider codes are reduced, because the map takes long for wide ones


def draw_figures(model: ImageModel, images: Images, folder: Path) -> None:
    """Fill `folder`, which appears whole or not at all, with pictures of what the model makes of test images."""
    figures: dict[str, Callable[[], Figure]] = {
        "reconstructions": lambda: _reconstructions(model, images),
        "activations": lambda: _activations(model, images),
        "codes": lambda: code_map(*_mapped(model, images), images.class_names),
    }
    for layer in range(1, n_layers(model) + 1):
        figures[f"filters-{layer}"] = partial(_filters, model, layer)
    if histories := fitted_images(model).histories:
        curves = {stage or "training": [(epoch.loss, epoch.valid) for epoch in epochs] for stage, epochs in histories.items()}
        figures["losses"] = lambda: loss_curves(curves)
    if isinstance(model, VariationalImages):
        figures["samples"] = lambda: image_grid(_square(model.sample(SAMPLED), images))
        if len(images.test) > 1:
            figures["walks"] = lambda: _walks(model, images)
    with whole_folder(folder) as draft:
        for name, draw in figures.items():
            save_figure(draw(), draft / f"{name}.png")


def _filters(model: ImageModel, layer: int) -> Figure:
    return filter_sheet(filters(model, layer))


def _reconstructions(model: ImageModel, images: Images) -> Figure:
    originals = images.test[:SHOWN]
    corrupted = model.corrupt(originals)
    rows = {"original": originals, "corrupted": corrupted, "reconstructed": model.reconstruct(corrupted)}
    if corrupted is originals:
        del rows["corrupted"]
    return reconstruction_rows({name: _square(row, images) for name, row in rows.items()})


def _activations(model: ImageModel, images: Images) -> Figure:
    """The units that are shown are those whose activations differ most from image to image."""
    seen = images.test[:MAPPED]
    codes = model.encode(seen)
    units = np.sort(np.argsort(-codes.std(axis=0), kind="stable")[:UNITS])
    strongest = [_square(seen[best], images) for best in strongest_inputs(codes, units, SHOWN)]
    return activation_sheet(codes[:SHOWN], units.tolist(), strongest)


def _mapped(model: ImageModel, images: Images) -> tuple[Floats, NDArray[np.int64] | None]:
    """Two numbers for each code, by t-SNE if it has more."""
    codes = model.encode(images.test[:MAPPED])
    if codes.shape[1] > BEFORE_MAPPING:
        codes = PCA(min(BEFORE_MAPPING, len(codes)), random_state=0).fit_transform(codes)
    if np.ptp(codes, axis=0).max() == 0:  # one code, or all the same: t-SNE would end the process
        codes = codes[:, :2]
    if codes.shape[1] > 2:
        codes = TSNE(perplexity=min(30, len(codes) / 4), init="pca", random_state=0).fit_transform(codes)
    points = np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
    return points, None if images.test_labels is None else images.test_labels[:MAPPED]


def _walks(model: VariationalImages, images: Images) -> Figure:
    """From each of the first test images to the next one."""
    starts = images.test[: SHOWN + 1]
    walks = [model.walk(first, last, STEPS) for first, last in pairwise(starts)]
    return image_grid(_square(np.concatenate(walks), images), columns=STEPS)


def _square(rows: Floats, images: Images) -> Floats:
    """Rows of pixels as images [n, channels, height, width]."""
    return rows.reshape(-1, *images.shape)
