"""datatrove: a reader, two steps, a filter and a writer, by two workers."""

import logging
import sys
import time

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import ParquetWriter
from loguru import logger

import steps


class Pages(BaseDiskReader):
    name = "pages"

    def read_file(self, filepath):
        with self.data_folder.open(filepath, "r", encoding="utf-8") as file:
            yield self.get_document_from_dict({"text": file.read(), "id": filepath}, filepath, 0)


class Text(PipelineStep):
    """Not an extractor of datatrove's: those hand each page to a process of their own."""

    name, type = "text", "extract"

    def run(self, data, rank=0, world_size=1):
        for page in data:
            page.text = steps.text(page.text)
            yield page


class Chunks(PipelineStep):
    name, type = "chunks", "split"

    def run(self, data, rank=0, world_size=1):
        for page in data:
            for index, chunk in enumerate(steps.chunks(page.text)):
                yield Document(text=chunk, id=page.id, metadata={"chunk_index": index})


def row(self, document):
    return {"uri": document.id, "chunk_index": document.metadata["chunk_index"], "chunk": document.text}


def keeps(document):
    return steps.keeps(document.text)


def main():
    folder, out = sys.argv[1], sys.argv[2]
    logger.remove()
    logging.disable()
    began = time.perf_counter()
    executor = LocalPipelineExecutor(
        pipeline=[Pages(folder, glob_pattern="**/*.html", add_file_path=False), Text(), Chunks(), LambdaFilter(keeps), ParquetWriter(out, compression="zstd", adapter=row)],
        tasks=2,
        workers=2,
        logging_dir=f"{out}/../logs",
        skip_completed=False,
    )
    executor.run()
    print(f'{{"seconds": {time.perf_counter() - began}}}')


if __name__ == "__main__":
    main()
