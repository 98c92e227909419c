"""Daft."""

import os

import daft

import queries


def main():
    _, sql, files, out = queries.asked()

    def work():
        tables = {name: daft.read_parquet(file) for name, file in files.items()}
        daft.sql(sql, **tables).write_parquet(os.path.dirname(out), compression="zstd")

    queries.timed(work)


if __name__ == "__main__":
    main()
