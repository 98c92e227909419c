"""Writes the tables again as all engines read them: `make.py FOLDER`. Daft can't read the string views that tpchgen-cli notes in its files."""

import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

VIEW = pyarrow.string_view()

for path in Path(sys.argv[1]).glob("*.parquet"):
    file = pyarrow.parquet.ParquetFile(path)
    rows = file.metadata.row_group(0).num_rows
    fields = [field.with_type(pyarrow.string() if field.type == VIEW else field.type).remove_metadata() for field in file.schema_arrow]
    schema = pyarrow.schema(fields)
    with pyarrow.parquet.ParquetWriter(path.with_suffix(".new"), schema, compression="snappy") as writer:
        for number in range(file.num_row_groups):
            writer.write_table(file.read_row_group(number).cast(schema), row_group_size=rows)
    path.with_suffix(".new").rename(path)
