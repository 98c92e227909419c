"""DuckDB."""

import os

import duckdb

import queries


def main():
    _, sql, files, out = queries.asked()

    def work():
        connection = duckdb.connect()
        connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
        for name, file in files.items():
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{file}')")
        connection.execute(f"COPY ({sql}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")

    queries.timed(work)


if __name__ == "__main__":
    main()
