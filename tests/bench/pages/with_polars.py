"""Polars: Python functions over expressions, the validator as an expression of its own."""

import sys
import time

import polars

import steps


def main():
    folder, out = sys.argv[1], sys.argv[2]
    began = time.perf_counter()
    chunk = polars.col("chunk")
    pages = polars.LazyFrame({"path": steps.paths(folder)})
    texts = pages.with_columns(text=polars.col("path").map_elements(lambda path: steps.text(steps.read(path)), return_dtype=polars.String))
    chunks = texts.select(
        uri=polars.col("path").str.strip_prefix(folder + "/"), chunk=polars.col("text").map_elements(steps.chunks, return_dtype=polars.List(polars.String))
    )
    rows = chunks.with_columns(chunk_index=polars.int_ranges(chunk.list.len(), dtype=polars.UInt32)).explode("chunk", "chunk_index")
    length = chunk.str.len_chars()
    kept = rows.filter((length >= steps.LENGTH) & (chunk.str.count_matches(r"\p{Alphabetic}") >= steps.ALPHABETIC * length))
    kept.select("uri", "chunk_index", "chunk").sink_parquet(f"{out}/0.parquet", **steps.PARQUET)
    print(f'{{"seconds": {time.perf_counter() - began}}}')


if __name__ == "__main__":
    main()
