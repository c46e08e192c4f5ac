"""Warm starts of networks whose parameters belong to ids."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from builders import SMALL, planted
from torch import nn

from recsys_ae import build_model
from recsys_ae.core.axes import check_id_axes
from recsys_ae.models import MODELS
from recsys_ae.models.elsa import ELSA
from recsys_ae.models.neural import NeuralRanker

NETWORKS = [name for name in MODELS if issubclass(MODELS.get(name), NeuralRanker)]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_declare_all_parameters_by_id(name):
    model = build_model(name, SMALL.get(name, {}))
    check_id_axes(lambda n: model._network(n, n, None))


class Forgetful(nn.Module):
    """A network with a parameter per item that it does not declare."""

    id_axes: Mapping[str, str] = {"input_weight": "inputs"}

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.zeros(width, 2))
        self.popularity = nn.Parameter(torch.zeros(width))


@dataclass
class ForgetfulELSA(ELSA):
    def _network(self, n_items, n_users, generator):
        return Forgetful(n_items)


def test_a_parameter_that_is_not_declared_is_noticed_before_it_is_copied():
    """Even if both models have the same number of items, so that the shapes agree."""
    started = ForgetfulELSA(epochs=1, factors=2)
    before = ELSA(epochs=1, factors=2).fit(planted()).fitted
    with pytest.raises(TypeError, match="Forgetful: popularity has rows by id, but no axis"):
        started._new_network(planted(), torch.Generator(), before)
