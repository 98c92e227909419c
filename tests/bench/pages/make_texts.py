"""Makes Parquet files of the text of pages: `make_texts.py FOLDER OUT`, a file for each folder in FOLDER."""

import json
import multiprocessing
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

import steps


def work(task):
    folder, out = task
    paths = steps.paths(folder)
    texts = [steps.text(steps.read(path)) for path in paths]
    table = pyarrow.table({"uri": [steps.uri(path, str(folder)) for path in paths], "text": texts})
    pyarrow.parquet.write_table(table, out / f"{folder.name}.parquet", row_group_size=4096, **steps.PARQUET)
    return len(texts), sum(len(text.encode()) for text in texts)


def main():
    folder, out = map(Path, sys.argv[1:])
    with multiprocessing.Pool(2, maxtasksperchild=1) as pool:
        made = pool.map(work, [(part, out) for part in sorted(folder.iterdir())], chunksize=1)
    print(json.dumps({"files": len(made), "rows": sum(rows for rows, _ in made), "bytes": sum(size for _, size in made)}))


if __name__ == "__main__":
    main()
