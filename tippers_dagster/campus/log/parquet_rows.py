"""Rows of a Parquet file, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.campus.log.rows import Batch
from tippers_dagster.errors import BadInput

BATCH_ROWS = 1 << 18


class ParquetRows:
    """A Parquet file.

    Parameters
    ----------
    path
        The file.
    batch_rows
        Rows read at once, at most.
    dictionaries
        Whether texts and bytes are left as dictionaries: their values may repeat so often that they
        fill the memory.

    Raises
    ------
    BadInput
        When the file is damaged.
    """

    def __init__(
        self, path: Path, batch_rows: int = BATCH_ROWS, *, dictionaries: bool = False
    ) -> None:
        self._path, self._batch_rows, self._done = path, batch_rows, 0
        with parquet_errors(path):
            self._file = pq.ParquetFile(
                path,
                read_dictionary=_text_columns(path) if dictionaries else None,
                # In nanoseconds, times of other centuries would silently become others.
                coerce_int96_timestamp_unit="us",
            )
            self.schema: pa.Schema = self._file.schema_arrow
            self.names: list[str] = self.schema.names
        self.rows: int = self._file.metadata.num_rows

    def batches(self, chosen: Mapping[str, str]) -> Iterator[Batch]:
        """Read the columns ``chosen``: the file's name, and the requested one.

        Raises
        ------
        BadInput
            When the file is damaged.
        """
        with parquet_errors(self._path):
            for batch in self._file.iter_batches(self._batch_rows, columns=list(chosen)):
                numbers = np.arange(self._done + 1, self._done + 1 + batch.num_rows)
                self._done += batch.num_rows
                yield Batch(
                    pa.table(batch.columns, names=[chosen[n] for n in batch.schema.names]), numbers
                )

    def position(self) -> int:
        """Bytes read so far, judged by the rows."""
        return os.path.getsize(self._path) * self._done // max(self.rows, 1)


def _text_columns(path: Path) -> list[str]:
    schema = pq.ParquetFile(path).schema
    leaves = [schema.column(at) for at in range(len(schema))]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Report what is wrong with a Parquet file as ``BadInput``."""
    try:
        yield
    except UnicodeDecodeError:
        raise BadInput(
            f"{path} has a column whose name is not UTF-8.", "Write the file again without it."
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            f"{path} cannot be read as Parquet: {error}", "Is it damaged or truncated?"
        ) from error
