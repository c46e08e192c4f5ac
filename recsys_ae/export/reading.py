"""Exported lists, read part by part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from recsys_ae.errors import DataError
from recsys_ae.export.manifest import ListManifest, remedy
from recsys_ae.files import check_file


@dataclass(frozen=True, eq=False)
class ExportedLists(Mapping[str, pd.DataFrame]):
    """The parts of an export by file name; each is verified and read when it is asked for. It can be pickled."""

    folder: Path
    manifest: ListManifest

    @classmethod
    def of(cls, folder: Path) -> "ExportedLists":
        """The lists in a folder. A link is resolved once, now.

        Raises:
            DataError: the manifest is missing or damaged, there are other files, or there are no lists.
        """
        folder = folder.resolve() if folder.is_symlink() else folder
        manifest = ListManifest.read_alone(folder)
        manifest.check_names(folder)
        if not manifest.rows:
            raise DataError(f"{folder} holds no recommendations")
        return cls(folder, manifest)

    def table(self, name: str) -> pa.Table:
        """The columns user_id, rank, item_id and score of a part; `DataError` if it is missing or damaged."""
        path = self.folder / name
        check_file(path, self.manifest.files[name].digest, remedy(self.folder))
        return self.manifest.read_part(path)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.table(name).to_pandas()

    def __iter__(self) -> Iterator[str]:
        return iter(self.manifest.files)

    def __len__(self) -> int:
        return len(self.manifest.files)
