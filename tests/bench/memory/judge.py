"""Looks at an answer without holding it: `judge.py OUT [COLUMN]` counts rows, and whether COLUMN ascends through all files."""

import json
import sys
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet

rows, ascends, last = 0, True, None
for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(65536, columns=sys.argv[2:] or None):
        rows += batch.num_rows
        if sys.argv[2:] and batch.num_rows:
            column = batch.column(0)
            steps = pyarrow.compute.less_equal(column.slice(0, len(column) - 1), column.slice(1))
            ascends &= (last is None or last <= column[0].as_py()) and pyarrow.compute.all(steps, min_count=0).as_py()
            last = column[-1].as_py()
print(json.dumps({"rows": rows, "ascends": bool(ascends)}))
