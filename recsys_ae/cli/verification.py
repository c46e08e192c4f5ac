"""The command that verifies lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_ae.cli.options import PATH, TrackingUri, print_table, terminal
from recsys_ae.errors import DataError, UnknownIdError, quoted

if TYPE_CHECKING:
    from recsys_ae.ids import IdMap, Rows


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder made by export or run.", **PATH)],
    model: Annotated[
        str | None, typer.Option(help="The model of the lists: a folder or an MLflow URI. Default: that in the manifest.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="The history of the lists. Default: that in the manifest.", **PATH)
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="Where files in the manifest are now, if they were moved; they are found by their bytes.", **PATH),
    ] = None,
    sample: Annotated[int | None, typer.Option(help="Number of users whose lists are made again. Default: 100.")] = None,
    users: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="ID", help="Make and print the list of this user instead of a sample."),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Verify lists: files, counts, ranks, items and scores; with any option, also against their model and history.

    The model, the history and other files are those in the manifest unless they are given. Exits with 1 if a check fails.
    """
    from recsys_ae.experiment.list_files import ListFiles
    from recsys_ae.export.manifest import ListManifest
    from recsys_ae.export.verification import SAMPLE, verify_lists

    manifest = ListManifest.read_alone(folder)
    console = terminal()
    for line in manifest.lines():
        console.print(line, soft_wrap=True)
    request = wanted = None
    if any(option is not None for option in (model, history, archive, sample, users)):
        given: dict[str, Any] = {"model": model, "history": history, "archive": archive, "tracking_uri": tracking_uri}
        files = ListFiles.of(manifest.made.sources, **given)
        if gone := files.missing():
            raise DataError(f"there is no file {gone} any more; if it was moved, name a folder above it as --archive")
        request = files.request(manifest.k, **manifest.options)
        wanted = None if users is None else _rows(users, request.scorer.history.users)
    checks = verify_lists(folder, request, sample=SAMPLE if sample is None else sample, users=wanted)
    for check in checks:
        console.print(str(check), soft_wrap=True)
    if failed := [check.name for check in checks if check.wrong]:
        raise DataError(f"{folder} is not as it should be: {', '.join(failed)} failed")
    if request is not None and wanted is not None:
        lists = request.scorer.table(wanted)
        print_table(*lists.column_names, rows=[[str(value) for value in row.values()] for row in lists.to_pylist()])


def _rows(texts: list[str], users: "IdMap") -> "Rows":
    """The rows of users whose ids are given as text."""
    import pyarrow as pa

    from recsys_ae.ids import ids_in_text

    ids, invalid = ids_in_text(pa.array(texts), users.kind)
    if invalid.any():
        raise UnknownIdError(f"--user {quoted(texts[int(invalid.argmax())])} is no id like the others, which are integers")
    return users.rows(ids.to_numpy(zero_copy_only=False))
