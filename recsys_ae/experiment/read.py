"""Pipeline files of either kind: which one it is, its dataset says."""

from collections.abc import Sequence

from recsys_ae.data.cards import IMAGE_KINDS
from recsys_ae.errors import ConfigError
from recsys_ae.experiment.image_spec import ImagePipeline, image_pipeline
from recsys_ae.experiment.reading import dataset_of, read_content
from recsys_ae.experiment.spec import Pipeline, rating_pipeline


def read_pipeline(name_or_path: str, settings: Sequence[str] = ()) -> Pipeline | ImagePipeline:
    """The pipeline in a file, or the shipped one of that name, with `key=value` settings applied.

    Raises:
        ConfigError: anything in it that cannot be carried out as written, with file and key.
    """
    content, path = read_content(name_or_path, settings)
    if not isinstance(content.get("dataset"), str | dict):
        raise ConfigError(f"{path}: key 'dataset' is missing; it names a card, or is one")
    card, _, _ = dataset_of(content["dataset"], path.parent, str(path))
    if card.kind not in IMAGE_KINDS:
        return rating_pipeline(content, path)
    split = content.get("split")
    if "export" in content or (isinstance(split, dict) and "kind" in split):
        raise ConfigError(f"{path}: dataset {card.name!r} holds images, but the rest is a pipeline of recommenders")
    return image_pipeline(content, path)
