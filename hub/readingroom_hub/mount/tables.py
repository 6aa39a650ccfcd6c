"""index.parquet: the rows of index.csv with their types, for pandas, polars, DuckDB and the like."""

from collections.abc import Iterable
from itertools import islice

import pyarrow as pa
import pyarrow.parquet

NUMBERS = frozenset({"number", "rows", "columns", "frames", "bytes"})
GROUP = 65_536
"""Rows that are held as columns at a time: one row group of the file."""


def index_parquet(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> bytes:
    """An Apache Parquet file, format 2.6, Zstandard, with int64 for `NUMBERS` and UTF-8 for the rest.

    The same rows give the same bytes with one version of pyarrow, so a restarted daemon serves the same file."""
    schema = pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns])
    memory = pa.system_memory_pool()  # the allocator that the daemon tunes
    sink = pa.BufferOutputStream(memory_pool=memory)
    with pyarrow.parquet.ParquetWriter(sink, schema, version="2.6", compression="zstd", memory_pool=memory) as file:
        rest = iter(rows)
        while group := list(islice(rest, GROUP)):
            arrays = [
                pa.array(values, field.type, memory_pool=memory)
                for field, values in zip(schema, zip(*group, strict=True), strict=True)
            ]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP)
    return bytes(sink.getvalue())
