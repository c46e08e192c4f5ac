"""Empty databases."""

import postgres
import pytest
import sqlalchemy as sa
from list_tables import opened

needs_postgres = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))


@pytest.fixture(scope="session")
def server():
    with postgres.postgres("tester", "a-secret") as address:
        yield f"postgresql+psycopg2://tester:a-secret@{address}/postgres"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.slow])])
def uri(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lists.db'}"
    found = request.getfixturevalue("server")
    with opened(found) as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    return found
