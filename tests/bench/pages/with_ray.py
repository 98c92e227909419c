"""Ray Data: files, one function over batches, Parquet; on two cores."""

import logging
import sys
import time

import pyarrow
import ray

import steps

TYPES = {"uri": pyarrow.string(), "chunk_index": pyarrow.uint32(), "chunk": pyarrow.string()}


def chunks(batch, folder):
    found = {"uri": [], "chunk_index": [], "chunk": []}
    for path, page in zip(batch["path"].to_pylist(), batch["bytes"].to_pylist()):
        for index, chunk in enumerate(steps.chunks(steps.text(page.decode()))):
            found["uri"].append(steps.uri(path, folder))
            found["chunk_index"].append(index)
            found["chunk"].append(chunk)
    return pyarrow.table([pyarrow.array(found[name], kind) for name, kind in TYPES.items()], names=list(TYPES))


def keeps(batch):
    return batch.filter(pyarrow.array([steps.keeps(chunk) for chunk in batch["chunk"].to_pylist()], pyarrow.bool_()))


def main():
    folder, out = sys.argv[1], sys.argv[2]
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2 << 30, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    began = time.perf_counter()
    pages = ray.data.read_binary_files(folder, include_paths=True, file_extensions=["html"])
    rows = pages.map_batches(chunks, batch_format="pyarrow", fn_kwargs={"folder": folder})
    rows.map_batches(keeps, batch_format="pyarrow").write_parquet(out, **steps.PARQUET)
    print(f'{{"seconds": {time.perf_counter() - began}}}')
    ray.shutdown()


if __name__ == "__main__":
    main()
