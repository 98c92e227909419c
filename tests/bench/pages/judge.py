"""Looks at outputs: `judge.py chunks OUT`, or `judge.py texts OUT FOLDER` for dflow's texts beside selectolax's."""

import hashlib
import json
import sys

import pyarrow.parquet

import steps


def rows(folder, *columns):
    """Rows of the columns; a page's name without the volume that dflow puts before it."""
    table = pyarrow.parquet.read_table(folder, columns=list(columns))
    uri, *rest = (table[name].to_pylist() for name in columns)
    return sorted(zip([name.removeprefix("pages://") for name in uri], *rest))


def chunks(out):
    found = rows(out, "uri", "chunk_index", "chunk")
    return {"chunks": len(found), "characters": sum(len(chunk) for _, _, chunk in found), "digest": hashlib.sha256(repr(found).encode()).hexdigest()[:16]}


def texts(out, folder):
    """Characters that aren't white space, since selectolax gives that of the markup."""
    characters = differ = pages = 0
    for uri, text in rows(out, "uri", "text"):
        ours, theirs = (len("".join(each.split())) for each in (text or "", steps.text(steps.read(f"{folder}/{uri}"))))
        pages, characters, differ = pages + 1, characters + theirs, differ + abs(ours - theirs)
    return {"pages": pages, "characters": characters, "differ": differ}


print(json.dumps({"chunks": chunks, "texts": texts}[sys.argv[1]](*sys.argv[2:])))
