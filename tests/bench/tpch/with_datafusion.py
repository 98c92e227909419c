"""DataFusion, the engine of datafusion-cli, by its own defaults."""

import os

from datafusion import DataFrameWriteOptions, SessionConfig, SessionContext

import queries


def main():
    _, sql, files, out = queries.asked()

    def work():
        context = SessionContext(SessionConfig().with_target_partitions(len(os.sched_getaffinity(0))))
        for name, file in files.items():
            context.register_parquet(name, file)
        # One file, which keeps the order of rows.
        context.sql(sql).write_parquet(out, compression="zstd", compression_level=1, write_options=DataFrameWriteOptions(single_file_output=True))

    queries.timed(work)


if __name__ == "__main__":
    main()
