"""Makes rows of text and numbers: `make.py FOLDER FILES ROWS`. Prints what the queries must find in them.

Of the texts each is there twice: files come in pairs with the same ones. A text is two of some thousand half sentences, so that
files are a fraction of what they hold, as they are in life."""

import json
import sys
from pathlib import Path

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

SEED = 3
HALVES, LENGTH = 4096, 100
KEYS = 4_000_000


def halves(random):
    letters = numpy.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(random.choice(letters, size)) for size in random.integers(2, 11, 5000)]

    def half():
        text = ""
        while len(text) < LENGTH:
            text += words[random.integers(len(words))] + " "
        return text[:LENGTH]

    return pyarrow.array([half() for _ in range(HALVES)])


def main():
    folder, files, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    first, second = (halves(numpy.random.default_rng([SEED, n])) for n in (0, 1))
    keys, texts, size = numpy.zeros(KEYS, bool), numpy.zeros(HALVES * HALVES, bool), 0
    for number in range(files):
        own, shared = (numpy.random.default_rng([SEED, part, n]) for part, n in ((2, number), (3, number // 2)))
        key, amount = own.integers(KEYS, size=rows), own.random(rows).round(6)
        i, j = (shared.integers(HALVES, size=rows) for _ in range(2))
        keys[key], texts[i * HALVES + j] = True, True
        text = pyarrow.compute.binary_join_element_wise(first.take(pyarrow.array(i)), second.take(pyarrow.array(j)), " ")
        ids = numpy.arange(number * rows, (number + 1) * rows)
        table = pyarrow.table({"id": ids, "key": key, "amount": amount, "text": text})
        pyarrow.parquet.write_table(table, folder / f"{number:03}.parquet", row_group_size=65536, compression="zstd", compression_level=1, use_dictionary=False)
        size += table.nbytes
    print(json.dumps({"rows": files * rows, "bytes": size, "keys": int(keys.sum()), "texts": int(texts.sum())}))


main()
