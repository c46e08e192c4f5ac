"""Declarations of the ids to which rows of parameters belong."""

import pytest
import torch
from torch import nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.axes import check_id_axes, id_axes, output_vectors
from recsys_ae.core.variational import VariationalAutoencoder


@pytest.mark.parametrize("tied", [True, False])
def test_an_autoencoder_declares_its_outer_layers(tied):
    axes = id_axes(Autoencoder(7, [4, 3], tied=tied))
    untied = {} if tied else {"output_weight": "outputs"}
    assert axes == {"input_weight": "inputs", "output_bias": "outputs", **untied}
    assert output_vectors(Autoencoder(7, [4, 3], tied=tied)) == ("input_weight" if tied else "output_weight")


def test_parts_of_a_module_declare_under_their_own_names():
    axes = id_axes(VariationalAutoencoder(7, [4]))
    assert axes == {
        "input_weight": "inputs",
        "body.input_weight": "inputs",
        "body.output_weight": "outputs",
        "body.output_bias": "outputs",
    }
    assert output_vectors(VariationalAutoencoder(7, [4, 3])) == "body.output_weight"


class Network(nn.Module):
    """With a row of `table` for each id, and perhaps with a declaration."""

    def __init__(self, n: int, **declared: str) -> None:
        super().__init__()
        self.body = Autoencoder(n, [3])
        self.table, self.inner = nn.Parameter(torch.zeros(n, 2)), nn.Parameter(torch.zeros(3, 3))
        self.register_buffer("count", torch.zeros(n))
        self.id_axes = declared


def test_every_parameter_whose_shape_depends_on_the_ids_has_to_be_declared():
    check_id_axes(lambda n: Network(n, table="rows", count="inputs"))
    check_id_axes(lambda n: Autoencoder(n, [4, 3]))
    check_id_axes(lambda n: VariationalAutoencoder(n, [4, 3]))
    with pytest.raises(TypeError, match="Network: table has rows by id, but no axis"):
        check_id_axes(lambda n: Network(n, count="inputs"))
    with pytest.raises(TypeError, match="Network: count has rows by id, but no axis"):
        check_id_axes(lambda n: Network(n, table="rows"))
    with pytest.raises(TypeError, match="Network: inner has an axis, but no rows by id"):
        check_id_axes(lambda n: Network(n, table="rows", count="inputs", inner="outputs"))
