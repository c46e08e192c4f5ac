"""Figures show the right content in the right places."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from recsys_ae.errors import OutputError
from recsys_ae.reporting.figures import (
    activation_sheet,
    code_map,
    filter_sheet,
    image_grid,
    loss_curves,
    metrics_chart,
    reconstruction_rows,
    save_figure,
    tiled,
)
from recsys_ae.reporting.results import ModelSummary, RunReport


def pictures(n: int, channels: int = 1) -> np.ndarray:
    """float64 [n, channels, 2, 3]: no two pixels are the same."""
    return np.linspace(0, 0.4, n * channels * 6).reshape(n, channels, 2, 3)


def shown(figure: Figure, place: int = 0) -> np.ndarray:
    """The array in one panel of a figure."""
    return np.asarray(figure.axes[place].images[0].get_array())


def test_tiles_are_row_by_row_with_half_grey_between():
    images = pictures(5)
    sheet = tiled(images, 2)
    assert sheet.shape == (3 * 3 + 1, 2 * 4 + 1)
    gaps = np.ones(sheet.shape, bool)
    for number, image in enumerate(images):
        top, left = 1 + number // 2 * 3, 1 + number % 2 * 4
        np.testing.assert_array_equal(sheet[top : top + 2, left : left + 3], image[0])
        gaps[top : top + 2, left : left + 3] = False
    assert gaps.sum() == sheet.size - 30
    assert (sheet[gaps] == 0.5).all()


def test_tiles_in_colour():
    images = pictures(2, 3)
    sheet = tiled(images, 2)
    assert sheet.shape == (4, 9, 3)
    for colour in range(3):
        np.testing.assert_array_equal(sheet[1:3, 1:4, colour], images[0, colour])
        np.testing.assert_array_equal(sheet[1:3, 5:8, colour], images[1, colour])
    assert (tiled(images * 9 - 1, 2).min(), tiled(images * 9 - 1, 2).max()) == (0, 1)


def test_a_grid_is_about_as_wide_as_high():
    np.testing.assert_array_equal(shown(image_grid(pictures(5))), tiled(pictures(5), 3))
    np.testing.assert_array_equal(shown(image_grid(pictures(5), columns=5)), tiled(pictures(5), 5))
    assert image_grid(pictures(5)).axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_are_scaled_each_to_its_own_range(channels):
    filters = pictures(4, channels) * np.array([1, -100, 1e-6, 0])[:, None, None, None] + 7
    sheet = shown(filter_sheet(filters))
    np.testing.assert_array_equal(sheet, tiled(scaled(filters), 2))
    assert (sheet.min(), sheet.max()) == (0, 1)


def scaled(filters: np.ndarray) -> np.ndarray:
    """Each is scaled from its lowest value to its highest; a constant one is 0."""
    return np.stack([(one - one.min()) / (np.ptp(one) or 1) for one in filters])


def test_a_filter_that_is_the_same_everywhere_is_black():
    sheet = shown(filter_sheet(np.full((1, 1, 2, 3), 8.0)))
    assert (sheet[1:3, 1:4] == 0).all()


def test_a_sheet_shows_a_hundred_filters():
    assert shown(filter_sheet(pictures(150))).shape == (10 * 3 + 1, 10 * 4 + 1)


def test_rows_of_reconstructions_are_named():
    figure = reconstruction_rows({"original": pictures(4), "reconstructed": pictures(4) / 2})
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "reconstructed"]
    np.testing.assert_array_equal(shown(figure, 0), tiled(pictures(4), 4))
    np.testing.assert_array_equal(shown(figure, 1), tiled(pictures(4) / 2, 4))


def test_activations_and_the_images_that_excite_units():
    activations = np.arange(12).reshape(3, 4) / 12
    figure = activation_sheet(activations, [1, 3], [pictures(2), pictures(3)])
    (codes,) = [axes for axes in figure.axes if axes.get_ylabel() == "image"]
    np.testing.assert_array_equal(codes.images[0].get_array(), activations)
    rows = {axes.get_ylabel(): axes.images[0].get_array() for axes in figure.axes if axes.get_ylabel().startswith("unit ")}
    assert list(rows) == ["unit 1", "unit 3"]
    np.testing.assert_array_equal(rows["unit 1"], tiled(pictures(2), 2))
    np.testing.assert_array_equal(rows["unit 3"], tiled(pictures(3), 3))


def test_losses_have_a_panel_for_each_stage():
    figure = loss_curves({"layer-1": [(3.0, None), (2.0, None)], "tuning": [(5.0, 6.0), (4.0, None), (3.0, 7.0)]})
    assert [axes.get_title() for axes in figure.axes] == ["layer-1", "tuning"]
    lines = [{line.get_label(): line.get_xydata() for line in axes.lines} for axes in figure.axes]
    assert [list(one) for one in lines] == [["training loss"], ["training loss", "valid loss"]]
    np.testing.assert_array_equal(lines[0]["training loss"], [(1, 3), (2, 2)])
    np.testing.assert_array_equal(lines[1]["valid loss"], [(1, 6), (2, np.nan), (3, 7)])


def test_validation_values_that_are_not_losses_have_their_own_axis():
    figure = loss_curves({"": [(3.0, 0.5), (2.0, 0.25)]}, "valid_rmse")
    losses, errors = figure.axes
    np.testing.assert_array_equal(losses.lines[0].get_xydata(), [(1, 3), (2, 2)])
    np.testing.assert_array_equal(errors.lines[0].get_xydata(), [(1, 0.5), (2, 0.25)])
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training loss", "valid rmse"]


def summary(metrics: dict, deviations: dict | None = None, identical: tuple = ()) -> ModelSummary:
    return ModelSummary("bias", {}, metrics, deviations, None, None, 1.0, None, {}, list(identical))


def test_metrics_have_a_panel_each_with_a_point_for_each_model():
    models = {
        "wide": summary({"rmse": 0.9, "ndcg@5": 0.5}, {"rmse": 0.1, "ndcg@5": 0.0}, ("ndcg@5",)),
        "narrow": summary({"rmse": None, "ndcg@5": 0.25}, {"rmse": None, "ndcg@5": 0.05}),
    }
    report = RunReport(
        "p", "d", {}, ["rmse", "ndcg@5"], ["rmse"], [0, 1], {}, None, models, None, [], {}, {}, [], None, None, {}
    )
    errors, gains = metrics_chart(report).axes
    assert (errors.get_title(), gains.get_title()) == ("rmse (lower is better)", "ndcg@5 (higher is better)")
    assert [text.get_text() for text in errors.get_yticklabels()] == ["wide", "narrow"]
    assert [tuple(bar[0].get_xydata()[0]) for bar in errors.containers] == [(0.9, 0)]
    assert [tuple(bar[0].get_xydata()[0]) for bar in gains.containers] == [(0.5, 0), (0.25, 1)]
    (spread,) = errors.containers[0][2]
    np.testing.assert_allclose(spread.get_segments()[0], [(0.8, 0), (1.0, 0)])
    assert [bool(bar[2]) for bar in gains.containers] == [False, True]


def test_points_have_the_colour_of_their_class():
    points = np.arange(10).reshape(5, 2) / 10
    labels = np.array([4, 0, 4, 11, 0])
    figure = code_map(points, labels)
    groups = {group.get_label(): group for group in figure.axes[0].collections}
    for label in (0, 4, 11):
        np.testing.assert_array_equal(groups[str(label)].get_offsets(), points[labels == label])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["0", "4", "11"]
    named = code_map(points[:2], labels[1:3] // 4, ["bark", "leaf"])
    assert [text.get_text() for text in named.axes[0].get_legend().get_texts()] == ["bark", "leaf"]
    (alone,) = code_map(points, None).axes[0].collections
    np.testing.assert_array_equal(alone.get_offsets(), points)


def test_a_saved_figure_is_a_whole_png_and_always_the_same(tmp_path):
    for name in ("first.png", "second.png"):
        save_figure(image_grid(pictures(5)), tmp_path / name)
    with Image.open(tmp_path / "first.png") as image:
        image.load()
        assert image.format == "PNG"
        assert "Software" not in image.info
        assert min(image.size) > 100
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.png", "second.png"]


def test_a_figure_that_cannot_be_saved_leaves_no_file(tmp_path, monkeypatch):
    def fill_the_disk(self, path, **_):
        path.write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        save_figure(image_grid(pictures(5)), tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_open_in_matplotlib():
    """Figures are not registered with pyplot, which would keep them alive."""
    image_grid(pictures(5))
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
