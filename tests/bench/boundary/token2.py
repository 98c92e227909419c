"""How many rows a second others do of `token2`, the second word of each of 1,000,000 texts of 41 bytes: JSON on stdout, by contender.

usage: token2.py ROUNDS

Texts are in memory before, in the form that each engine has, and stay there afterwards; all cores that we may use.
"""

import json
import sys
import time

import daft
import duckdb
import numpy
import polars
import pyarrow

ROWS = 1_000_000


def texts():
    """Three to nine words in each, as in host/wasm/benches/boundary/token2.rs."""
    random = numpy.random.default_rng(7)
    letters = random.integers(ord("a"), ord("z") + 1, (ROWS, 41), dtype=numpy.uint8)
    words = random.integers(3, 10, ROWS)
    for word in range(1, 9):
        rows = numpy.nonzero(word < words)[0]
        letters[rows, word * 41 // words[rows]] = ord(" ")
    offsets = numpy.arange(0, 41 * (ROWS + 1), 41, dtype=numpy.int32)
    return pyarrow.StringArray.from_buffers(ROWS, pyarrow.py_buffer(offsets), pyarrow.py_buffer(letters.tobytes()))


def main():
    rounds = int(sys.argv[1])
    column = texts()
    expected = [text.split(" ")[1] for text in column.to_pylist()]
    table = pyarrow.table({"text": column})

    connection = duckdb.connect()
    connection.register("given", table)
    connection.execute("create table texts as select text from given")
    connection.create_function("second", lambda batch: pyarrow.array([text.split(" ")[1] for text in batch.to_pylist()]), ["VARCHAR"], "VARCHAR", type="arrow")
    frame = polars.from_arrow(table)
    frames = daft.from_arrow(table).collect()

    @daft.func
    def second(text: str) -> str:
        return text.split(" ")[1]

    @daft.func.batch(return_dtype=daft.DataType.string())
    def seconds(batch: daft.Series) -> pyarrow.Array:
        return pyarrow.array([text.split(" ")[1] for text in batch.to_pylist()])

    def in_duckdb(expression):
        return lambda: connection.sql(f"select {expression} as word from texts").to_arrow_table()["word"]

    def in_polars(expression):
        return lambda: frame.select(expression.alias("word"))["word"].to_arrow()

    def in_daft(expression):
        return lambda: frames.select(expression.alias("word")).to_arrow()["word"]

    text = polars.col("text")
    contenders = {
        "DuckDB": in_duckdb("split_part(text, ' ', 2)"),
        "DuckDB, Python function": in_duckdb("second(text)"),
        "Polars": in_polars(text.str.splitn(" ", 3).struct.field("field_1")),
        "Polars, Python function": in_polars(text.map_elements(lambda text: text.split(" ")[1], return_dtype=polars.String)),
        "Daft": in_daft(daft.col("text").split(" ").get(1)),
        "Daft, Python function by row": in_daft(second(daft.col("text"))),
        "Daft, Python function by batch": in_daft(seconds(daft.col("text"))),
    }
    for name, run in contenders.items():
        if run().to_pylist() != expected:
            sys.exit(f"error: {name} gives other words")
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    print(json.dumps({name: ROWS / seconds / 1e6 for name, seconds in best.items()}))


if __name__ == "__main__":
    main()
