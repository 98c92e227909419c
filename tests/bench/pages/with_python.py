"""Plain Python: `with_python.py FOLDER OUT [PROCESSES]`. Each process writes files of its own, one for some hundred pages."""

import multiprocessing
import sys
import time

import pyarrow
import pyarrow.parquet

import steps

PAGES = 250


def work(task):
    number, paths, folder, out = task
    found = [row for path in paths for row in steps.rows(path, folder)]
    columns = [list(column) for column in zip(*found)] or [[], [], []]
    types = {"uri": pyarrow.string(), "chunk_index": pyarrow.uint32(), "chunk": pyarrow.string()}
    table = pyarrow.table([pyarrow.array(column, kind) for column, kind in zip(columns, types.values())], names=list(types))
    pyarrow.parquet.write_table(table, f"{out}/{number}.parquet", **steps.PARQUET)


def main():
    folder, out, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    began = time.perf_counter()
    paths = steps.paths(folder)
    tasks = [(number, paths[start : start + PAGES], folder, out) for number, start in enumerate(range(0, len(paths), PAGES))]
    if processes == 1:
        for task in tasks:
            work(task)
    else:
        with multiprocessing.Pool(processes) as pool:
            for _ in pool.imap_unordered(work, tasks):
                pass
    print(f'{{"seconds": {time.perf_counter() - began}}}')


if __name__ == "__main__":
    main()
