"""Daft: Python functions over batches, the validator as an expression of its own."""

import sys
import time

import daft
from daft import DataType, col

import steps


@daft.func.batch(return_dtype=DataType.string())
def text(html: daft.Series):
    return [steps.text(page) for page in html.to_pylist()]


@daft.func.batch(return_dtype=DataType.list(DataType.string()))
def chunks(text: daft.Series):
    return [steps.chunks(page) for page in text.to_pylist()]


@daft.func.batch(return_dtype=DataType.string())
def uri(path: daft.Series, folder: str):
    return [steps.uri(name, folder) for name in path.to_pylist()]


def main():
    folder, out = sys.argv[1], sys.argv[2]
    began = time.perf_counter()
    rows = daft.from_glob_path(f"{folder}/**/*.html")
    rows = rows.with_column("html", col("path").download().decode("utf-8"))
    rows = rows.select(uri(col("path"), folder).alias("uri"), chunks(text(col("html"))).alias("chunk"))
    rows = rows.explode("chunk", index_column="chunk_index", ignore_empty_and_null=True)
    length = col("chunk").length()
    rows = rows.where((length >= steps.LENGTH) & (col("chunk").regexp_count(r"\p{Alphabetic}") >= length * steps.ALPHABETIC))
    rows.select("uri", "chunk_index", "chunk").write_parquet(out, compression="zstd")
    print(f'{{"seconds": {time.perf_counter() - began}}}')


if __name__ == "__main__":
    main()
