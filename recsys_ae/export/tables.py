"""Loading finished lists into a database or a Delta table. Readers see either the old lists or the new ones."""

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from recsys_ae.digests import digest_of_json
from recsys_ae.errors import ConfigError, OutputError, counted, quoted, reason
from recsys_ae.export.manifest import ListManifest
from recsys_ae.export.writing import TITLE
from recsys_ae.surroundings import masked

NAME = r"([A-Za-z_][A-Za-z0-9_]{0,30}\.)?[A-Za-z_][A-Za-z0-9_]{0,30}"  # databases allow 63 bytes, and suffixes are appended
BATCH = 10_000  # rows sent at a time
STAMP = "recsys_ae.stamp"

logger = logging.getLogger(__name__)


def load_into_database(folder: Path, uri: str, table: str) -> bool:
    """Replace the rows of a table by the lists in a folder; returns whether that was necessary.

    The files are loaded one by one into a staging table, each in a transaction, so that the same call continues after an
    interruption and loads no row twice. Then one transaction replaces the rows of `table`, which is created if needed, with
    the primary key (user_id, rank). It stays the same table, with its indexes, permissions and views. `TABLE_manifest` has one
    row: the hash of the loaded lists, and their manifest as JSON. A load that finishes drops the staging tables of all loads
    into `table`, as some may never be finished; one that is running then fails, and must be repeated.

    Args:
        uri: URI of the database, as for SQLAlchemy.
        table: name of the table, optionally with a schema: `shop.lists`.

    Raises:
        ConfigError: an invalid URI or name, or the driver of the database is not installed.
        DataError: the lists are damaged.
        OutputError: the table has other columns, another process is loading the same lists or has loaded lists into the table
            meanwhile, or the database fails.
    """
    if not re.fullmatch(NAME, table):
        raise ConfigError(
            f"{quoted(table)} cannot name a table; use at most 31 letters, digits and _, optionally with a schema"
        )
    manifest = ListManifest.read(folder)
    with _database(uri) as engine:
        return _Loading(engine, table, folder, manifest).run()


def write_delta(folder: Path, uri: str) -> bool:
    """Replace the content of the Delta table at `uri` by the lists in a folder, in one commit, or create it.

    Returns:
        Whether that was necessary; the last commit has the hash of the lists that it wrote.

    Raises:
        ConfigError: deltalake is not installed.
        DataError: the lists are damaged.
        OutputError: the table is no table of lists, or cannot be written.
    """
    try:
        import deltalake
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise ConfigError("Delta tables need the package deltalake: pip install recsys-ae[tables]") from None
    manifest = ListManifest.read(folder)
    stamp = _stamp(manifest)
    about = {STAMP: stamp, "recsys_ae.manifest": json.dumps(asdict(manifest))}
    try:
        if deltalake.DeltaTable.is_deltatable(uri):
            table = deltalake.DeltaTable(uri)
            _check_delta(masked(uri), {field.name for field in table.schema().fields})
            if table.history(1)[0].get(STAMP) == stamp:
                logger.info("%s already holds these lists: nothing to do", masked(uri))
                return False
        batches = (batch for _, part in _parts(folder, manifest) for batch in part.to_batches())
        lists = pa.RecordBatchReader.from_batches(_schema(manifest), batches)
        commit = deltalake.CommitProperties(custom_metadata=about)
        deltalake.write_deltalake(uri, lists, mode="overwrite", schema_mode="overwrite", commit_properties=commit)
    except (DeltaError, OSError, ValueError) as error:
        raise OutputError(f"cannot write the Delta table {masked(uri)}: {reason(error)}") from None
    return True


def _check_delta(place: str, found: set[str]) -> None:
    """Raise `OutputError` unless a Delta table has the columns of lists, with or without titles."""
    if found - {TITLE} != (wanted := {"user_id", "rank", "item_id", "score"}):
        has, needs = ", ".join(sorted(found)), ", ".join(sorted(wanted))
        raise OutputError(f"the Delta table {place} has the columns {has} instead of {needs}; name another")


class _Loading:
    """A load of lists into a table, by way of a staging table."""

    def __init__(self, engine: sa.Engine, name: str, folder: Path, manifest: ListManifest) -> None:
        self._engine, self._folder, self._manifest, self._stamp = engine, folder, manifest, _stamp(manifest)
        schema, _, self._name = name.rpartition(".")
        self._schema = schema or None
        staging = f"{self._name}_staging_{self._stamp[:8]}"  # its own for each lists, so that they never mix
        self._lists, self._staged = (self._table(each, self._columns(each == self._name)) for each in (self._name, staging))
        part = [sa.Column("part", sa.String(40), primary_key=True)]
        self._done = self._table(f"{staging}_parts", part)
        about = [sa.Column("stamp", sa.String(32), nullable=False), sa.Column("manifest", sa.Text, nullable=False)]
        self._about = self._table(f"{self._name}_manifest", about)

    def run(self) -> bool:
        if self._is_loaded():
            logger.info("%s already holds these lists: nothing to do", self._name)
            self._remove_staging(self._stamp[:8])  # if an earlier call was interrupted before it could
            return False
        self._check_columns()
        with self._engine.begin() as connection:
            for table in (self._staged, self._done):
                table.create(connection, checkfirst=True)
            loaded = set(connection.scalars(sa.select(self._done.c.part)))
        try:
            self._load(loaded)
            self._replace_rows()
        except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
            inspector = sa.inspect(self._engine)
            if all(inspector.has_table(table.name, self._schema) for table in (self._staged, self._done)):
                raise
            meanwhile = f"another process has loaded lists into {self._name} meanwhile"
            raise OutputError(
                f"{meanwhile} and dropped the staging tables of this load; repeat it to replace those lists"
            ) from None
        self._remove_staging("[0-9a-f]{8}")
        return True

    def _load(self, loaded: Collection[str]) -> None:
        """Load the files without those that are loaded already into the staging table."""
        for name, part in _parts(self._folder, self._manifest, without=loaded):
            with self._engine.begin() as connection:
                # fails at once if another process is loading this part
                connection.execute(self._done.insert().values(part=name))
                for batch in part.to_batches(BATCH):
                    self._insert(connection, batch)
        logger.info("%s, of which %d are loaded already", counted(len(self._manifest.files), "file"), len(loaded))

    def _insert(self, connection: sa.Connection, batch: pa.RecordBatch) -> None:
        if self._engine.driver != "psycopg2":
            connection.execute(self._staged.insert(), batch.to_pylist())
            return
        quoted_names = ", ".join(map(connection.dialect.identifier_preparer.quote, batch.schema.names))
        table, content = connection.dialect.identifier_preparer.format_table(self._staged), BytesIO()
        pcsv.write_csv(batch, content, pcsv.WriteOptions(include_header=False))  # all text in quotes, missing titles empty
        content.seek(0)
        copy = f"COPY {table} ({quoted_names}) FROM STDIN WITH (FORMAT csv)"  # many times as fast as INSERT
        cursor: Any = connection.connection.cursor()
        cursor.copy_expert(copy, content)

    def _replace_rows(self) -> None:
        """Replace the rows of the table by the loaded ones."""
        with self._engine.begin() as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(self._staged))
            if found != self._manifest.rows:
                raise OutputError(f"{self._staged.name} has {found} rows instead of {self._manifest.rows}; drop it and repeat")
            for table in (self._lists, self._about):  # before the rest, because some databases commit after each
                table.create(connection, checkfirst=True)
            connection.execute(self._about.delete())  # waits for another process that replaces the rows, and must be first
            connection.execute(self._lists.delete())
            columns = [column.name for column in self._lists.columns]
            loaded = sa.select(*(self._staged.c[name] for name in columns))
            connection.execute(self._lists.insert().from_select(columns, loaded))
            manifest = json.dumps(asdict(self._manifest))
            connection.execute(self._about.delete())  # what that process has written
            connection.execute(self._about.insert().values(stamp=self._stamp, manifest=manifest))

    def _is_loaded(self) -> bool:
        with self._engine.begin() as connection:
            if not all(sa.inspect(connection).has_table(name, self._schema) for name in (self._name, self._about.name)):
                return False
            return list(connection.scalars(sa.select(self._about.c.stamp))) == [self._stamp]

    def _check_columns(self) -> None:
        inspector = sa.inspect(self._engine)
        if inspector.has_table(self._name, self._schema):
            found = {column["name"] for column in inspector.get_columns(self._name, self._schema)}
            if found != (wanted := {column.name for column in self._lists.columns}):
                has, needs = ", ".join(sorted(found)), ", ".join(sorted(wanted))
                raise OutputError(f"the table {self._name} has the columns {has} instead of {needs}; drop it or name another")

    def _remove_staging(self, stamps: str) -> None:
        """Drop the staging tables of loads into this table, running or interrupted, whose stamps match a regular expression."""
        with self._engine.begin() as connection:
            # names with _parts first, in the order in which a running load locks them
            for name in sorted(sa.inspect(connection).get_table_names(self._schema), reverse=True):
                if re.fullmatch(rf"{self._name}_staging_{stamps}(_parts)?", name):
                    self._table(name, []).drop(connection, checkfirst=True)

    def _table(self, name: str, columns: list[sa.Column[Any]]) -> sa.Table:
        return sa.Table(name, sa.MetaData(), *columns, schema=self._schema)

    def _columns(self, keyed: bool) -> list[sa.Column[Any]]:
        kinds: Mapping[pa.DataType, Any] = {pa.int64(): sa.BigInteger, pa.int32(): sa.Integer, pa.float32(): sa.REAL}
        keys = ("user_id", "rank") if keyed else ()
        return [
            sa.Column(
                field.name,
                kinds.get(field.type, sa.Text),
                primary_key=field.name in keys,
                nullable=field.name == TITLE,
                autoincrement=False,
            )
            for field in _schema(self._manifest)
        ]


def _parts(folder: Path, manifest: ListManifest, without: Collection[str] = ()) -> Iterator[tuple[str, pa.Table]]:
    """Name and lists of each file, with titles if there are any."""
    names = _schema(manifest).names
    for name in manifest.files:
        if name not in without:
            yield name, manifest.read_part(folder / name, names)


def _schema(manifest: ListManifest) -> pa.Schema:
    return manifest.arrow_schema(titles=bool(manifest.writing.titles))


def _stamp(manifest: ListManifest) -> str:
    """Hash of the lists: two exports with the same one hold the same rows."""
    return digest_of_json(manifest.request_digest, {name: part.digest for name, part in manifest.files.items()})


@contextmanager
def _database(uri: str) -> Iterator[sa.Engine]:
    """The database at a URI; its errors become one sentence."""
    place = masked(uri)
    try:
        engine = sa.create_engine(uri)
    except (ArgumentError, NoSuchModuleError, ValueError):
        example = "postgresql+psycopg2://user:password@host/name or sqlite:///lists.db"
        raise ConfigError(f"{quoted(place)} is not the URI of a database, such as {example}") from None
    except ModuleNotFoundError as error:
        raise ConfigError(f"the database {place} needs the package {error.name}; install it") from None
    if engine.dialect.name == "sqlite":  # the driver begins transactions only before some statements
        sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        yield engine
    except sa.exc.IntegrityError as error:
        raise OutputError(f"another process is loading the same lists into {place}: {reason(error.orig)}") from None
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise OutputError(f"cannot write to {place}: {reason(getattr(error, 'orig', None) or error)}") from None
    finally:
        engine.dispose()
