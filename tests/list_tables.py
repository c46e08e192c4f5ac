"""Lists in files and in the tables of databases, as a test exports and reads them."""

from contextlib import contextmanager

import sqlalchemy as sa
from builders import random_interactions

from recsys_ae import build_model
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import ListManifest
from recsys_ae.export.request import ListRequest


@contextmanager
def opened(uri):
    engine = sa.create_engine(uri)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def export(folder, seed=0, **options):
    """Lists of 40 users in four files."""
    data = random_interactions(seed)
    request = ListRequest.of(build_model("popularity", {}).fit(data), data, 5, part_users=10, **options)
    return export_request(request, folder)


def rows_of(folder, titles=False):
    manifest = ListManifest.read(folder)
    names = manifest.arrow_schema(titles=titles).names
    return [row for name in manifest.files for row in manifest.read_part(folder / name, names).to_pylist()]


def rows_in(uri, table="lists"):
    """The rows of a table, which are the lists in their order, because users are in the order of their ids."""
    with opened(uri) as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY user_id, rank"))
        return [dict(row) for row in found.mappings()]


def names_in(uri):
    with opened(uri) as connection:
        return sorted(sa.inspect(connection).get_table_names())
