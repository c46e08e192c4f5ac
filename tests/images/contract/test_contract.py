"""Contract tests for every registered image model; a new one needs a row in `image_builders`."""

import numpy as np
import pytest
import torch
from image_builders import FITTED, SMALL, VARIANTS, digits, fit, make, other_labels, others, some, some_labels

from recsys_ae.declaration import parameters
from recsys_ae.errors import ConfigError, DataError, NotFittedError
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.base import BATCH_IMAGES
from recsys_ae.images.metrics import IMAGE_METRICS, EvaluationData
from recsys_ae.images.stacked import StackedAutoencoder
from recsys_ae.images.storage import build_image_model, load_image_model, save_image_model
from recsys_ae.images.variational import VariationalImages


def test_every_model_has_a_variant():
    assert {kind for kind, _ in VARIANTS.values()} == set(IMAGE_MODELS) == set(SMALL)


def test_shapes_and_types(name, model):
    codes = model.encode(others())
    params = VARIANTS[name][1]
    width = {"convolutional": 8 * 4 * 4, "pca": 5}.get(name, params["hidden"][-1] if "hidden" in params else codes.shape[1])
    assert codes.shape == (50, width)
    pixels = model.decode(codes)
    assert pixels.shape == others().shape
    assert codes.dtype == pixels.dtype == np.float32
    np.testing.assert_array_equal(model.reconstruct(others()), pixels)
    if name not in ("pca", "dense-linear"):
        assert 0 <= pixels.min() < pixels.max() <= 1


def test_an_image_does_not_depend_on_those_beside_it(model):
    many = np.tile(others(), (BATCH_IMAGES // 50 + 1, 1))
    together = model.reconstruct(many)
    assert together.shape == many.shape
    for row in (0, 7, 49):
        np.testing.assert_allclose(model.reconstruct(many[[row]])[0], together[row], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together[BATCH_IMAGES + row], together[row], rtol=1e-4, atol=1e-5)


def test_the_layout_in_memory_does_not_matter(model):
    codes = model.encode(others())
    np.testing.assert_allclose(model.encode(np.asfortranarray(others())), codes, rtol=1e-4, atol=1e-5)
    pixels = model.decode(codes)
    np.testing.assert_allclose(model.decode(np.asfortranarray(codes)), pixels, rtol=1e-4, atol=1e-5)


def test_images_are_reconstructed_better_than_by_their_mean(model):
    error = np.square(model.reconstruct(some()) - some()).mean()
    assert error < 0.9 * some().var(axis=0).mean()


def test_a_saved_model_needs_no_data(model, tmp_path):
    save_image_model(model, tmp_path / "model")
    loaded = load_image_model(tmp_path / "model")
    assert type(loaded) is type(model)
    assert parameters(loaded) == parameters(model)
    assert (loaded.fitted.shape, loaded.fitted.classes) == (model.fitted.shape, model.fitted.classes)
    codes = model.encode(others())
    np.testing.assert_array_equal(loaded.encode(others()), codes)
    np.testing.assert_array_equal(loaded.decode(codes), model.decode(codes))
    if model.fitted.classes is not None:
        np.testing.assert_array_equal(loaded.classify(others()), model.classify(others()))
    assert (loaded.fitted.histories, loaded.fitted.before) == ({}, None)


def test_nothing_works_before_fitting(name, tmp_path):
    model = make(name)
    calls = {
        "encode": lambda: model.encode(some()),
        "decode": lambda: model.decode(some()),
        "reconstruct": lambda: model.reconstruct(some()),
        "save": lambda: save_image_model(model, tmp_path / "model"),
    }
    if isinstance(model, StackedAutoencoder):
        calls["classify"] = lambda: model.classify(some())
    if isinstance(model, VariationalImages):
        calls["sample"] = lambda: model.sample(3)
        calls["negative_elbo"] = lambda: model.negative_elbo(some())
    for call in calls.values():
        with pytest.raises(NotFittedError, match="is not fitted; call fit"):
            call()
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "double precision": (lambda images: images.astype(np.float64), "must be a float32 array"),
    "bytes": (lambda images: (images * 16).astype(np.uint8), "must be a float32 array"),
    "a single image": (lambda images: images[0], "must be a float32 array"),
    "no image": (lambda images: images[:0], "there are no images"),
    "too bright": (lambda images: images * 1.01, "between 0 and 1, got 0.0 to 1.00999"),
    "negative": (lambda images: images - 0.5, "between 0 and 1, got -0.5"),
    "not a number": (lambda images: np.where(images == 1, np.float32(np.nan), images), "between 0 and 1, got nan"),
    "a list": (lambda images: images.tolist(), "must be a float32 array .*, got list"),
    "pictures of bytes": (
        lambda images: (images.reshape(-1, 8, 8) * 16).astype(np.uint8),
        "must be a float32 array .*, got uint8",
    ),
    "not square": (lambda images: images[:, :60], "60 pixels are not 1 x 7 x 7"),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("wrong", WRONG)
def test_files_that_are_not_images_are_refused(kind, wrong):
    spoil, message = WRONG[wrong]
    model = build_image_model(kind, SMALL[kind])
    with pytest.raises(DataError, match=message):
        model.fit(spoil(some()))
    assert model.fitted is None


@pytest.mark.parametrize("kind", SMALL)
def test_the_shape_that_is_given_must_be_that_of_the_images(kind):
    with pytest.raises(DataError, match="64 pixels are not 3 x 8 x 8"):
        build_image_model(kind, SMALL[kind]).fit(some(), shape=(3, 8, 8))


@pytest.mark.parametrize("kind", ["dense", "stacked"])
def test_images_for_validation_are_checked_like_the_others(kind):
    for spoil, message in (WRONG["double precision"], WRONG["too bright"], WRONG["not square"]):
        with pytest.raises(DataError, match=message.removesuffix(" are not 1 x 7 x 7")):
            build_image_model(kind, SMALL[kind]).fit(some(), valid=spoil(others()))


def test_a_fitted_model_refuses_images_of_another_size():
    """Errors are those of the package, not of PyTorch."""
    for name in ("dense", "convolutional", "variational", "pca"):
        FITTED.setdefault(name, fit(name))
        with pytest.raises(DataError):
            FITTED[name].encode(others()[:, :60])


def test_the_shape_of_an_array_is_that_of_the_images(model):
    """As many pixels are not enough."""
    codes = model.encode(others())
    np.testing.assert_array_equal(model.encode(others().reshape(-1, 8, 8)), codes)
    np.testing.assert_array_equal(model.encode(others().reshape(-1, 1, 8, 8)), codes)
    for shape, found in (((4, 16), "1 x 4 x 16"), ((4, 4, 4), "4 x 4 x 4")):
        with pytest.raises(DataError, match=rf"images must be 1 x 8 x 8 \(channels x height x width\), got {found}"):
            model.encode(others().reshape(-1, *shape))
    spoiled = others().copy()
    spoiled[2, 3] = np.inf
    with pytest.raises(DataError, match="pixels must be finite, but those of image 2 are not"):
        model.encode(spoiled)


def test_models_are_fitted_to_arrays_with_a_shape():
    wide = digits().train[:80].reshape(40, 8, 16)
    model = build_image_model("pca", {"components": 2}).fit(wide, valid=wide[:5])
    assert model.fitted.shape == (1, 8, 16)
    with pytest.raises(DataError, match=r"images must be 1 x 16 x 8 .*, got 1 x 8 x 16"):
        build_image_model("pca", {"components": 2}).fit(wide, shape=(1, 16, 8))
    with pytest.raises(DataError, match=r"images must be 1 x 8 x 16 .*, got 1 x 16 x 8"):
        build_image_model("dense", {"hidden": 2, "epochs": 1}).fit(wide, valid=wide.reshape(40, 16, 8))


@pytest.mark.parametrize("metric", IMAGE_METRICS)
def test_every_metric_of_every_model_is_a_number_or_none(model, metric):
    for labels in (other_labels(), None):
        value = IMAGE_METRICS.get(metric)(model, EvaluationData(others(), labels, some()))
        assert value is None or (type(value) is float and np.isfinite(value))


def test_mistakes_in_parameters(name):
    kind, params = VARIANTS[name]
    known = next(iter(params))
    with pytest.raises(ConfigError, match=f"unknown key '{known}x'; did you mean '{known}'"):
        build_image_model(kind, {f"{known}x": 3})


def test_a_known_image_shape_is_kept(name):
    """128 pixels, twice as wide as high, which a network cannot guess."""
    wide = digits().train[:80].reshape(40, 128)
    model = make(name).fit(wide, some_labels()[:40], shape=(1, 8, 16))
    assert model.fitted.shape == (1, 8, 16)
    assert model.reconstruct(wide).shape == (40, 128)


def test_inputs_that_are_not_numeric_arrays_are_refused_everywhere(model):
    codes = model.encode(others())
    for wrong in (codes.astype(np.float64), codes[:, 1:], np.pad(codes, ((0, 0), (0, 1)))):
        with pytest.raises(DataError, match=rf"codes must be a float32 array \[n, {codes.shape[1]}\]"):
            model.decode(wrong)
    for method in ("encode", "classify", "negative_elbo"):
        if hasattr(model, method) and not (method == "classify" and model.fitted.classes is None):
            with pytest.raises(DataError, match=r"images must be a float32 array \[n, 64\]"):
                getattr(model, method)(others()[:, :9])


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("dense", {"corruption": "masking"}, "corruption: masking corrupts nothing without a number; give noise"),
        ("dense", {"noise": 0.3}, "noise does nothing without corruption"),
        ("convolutional", {"corruption": "none"}, "give one, or set noise to 0"),
        ("stacked", {"corruption": "masking"}, "give noise or layer_noise"),
        ("stacked", {"layer_noise": [0.3, 0.3]}, "noise or layer_noise does nothing without corruption"),
        ("stacked", {"tune_corruption": "dropout"}, "tune_corruption: dropout corrupts nothing"),
        ("dense", {"sparsity": "kl"}, "sparsity: kl with strength: 0 does nothing"),
        ("dense", {"strength": 0.5}, "sparsity: none with strength: 0.5 does nothing"),
    ],
)
def test_incomplete_combinations_of_parameters_are_refused(kind, params, message):
    with pytest.raises(ConfigError, match=message):
        build_image_model(kind, params)


def test_layers_may_differ_in_whether_they_are_corrupted():
    model = build_image_model("stacked", {"hidden": [6, 4], "corruption": "masking", "layer_noise": [0.3, 0.0]})
    rates = [model._layer(width, number, torch.Generator())[1].corruption.rate for number, width in enumerate((64, 6))]
    assert rates == [0.3, 0.0]
    clean = build_image_model("convolutional", {"corruption": "none", "noise": 0.0})
    assert (clean.corrupt(some()) == some()).all()
