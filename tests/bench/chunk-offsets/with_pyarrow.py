"""Reads the texts and does nothing with them, on two threads: what decoding costs alone. `with_pyarrow.py FOLDER`"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet


def read(path):
    file = pyarrow.parquet.ParquetFile(path)
    return sum(batch.num_rows for batch in file.iter_batches(256, columns=["text"], use_threads=False))


began = time.perf_counter()
with ThreadPoolExecutor(2) as pool:
    rows = sum(pool.map(read, sorted(Path(sys.argv[1]).glob("*.parquet"))))
print(f'{{"seconds": {time.perf_counter() - began}}}')
