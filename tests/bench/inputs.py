"""Inputs of the benchmarks: made once, the same everywhere where the toolchain's documentation is the same."""

import json
import os
import random
import shutil

from common import book
from engines import BENCH, install, python

SEED = 3
# Bytes of the pages that are sampled: neither stubs nor the largest tables.
SMALLEST, LARGEST = 3_000, 1_000_000
EIGHTHS = 8
# Bytes of text that `texts` makes of the pages at least, by having each file several times.
TEXT = 1_000_000_000


def documentation():
    """The toolchain's HTML documentation: paths below its folder in one order, and the folder."""
    root = book()
    return root, sorted(str(path.relative_to(root)) for path in root.rglob("*.html") if path.is_file())


def made(name, make, **about):
    """The folder of an input, made by `make(folder)` unless it is there and was made of the same things."""
    folder, note = BENCH / "in" / name, BENCH / "in" / f"{name}.json"
    if not note.exists() or {k: v for k, v in json.loads(note.read_text()).items() if k != "gives"} != about:
        note.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        gives = make(folder)
        note.write_text(json.dumps(about | {"gives": gives}))
    return folder, json.loads(note.read_text())["gives"]


def pages(count):
    """A sample of pages, copied: the folder, and its files and bytes."""
    root, paths = documentation()
    sizes = {path: (root / path).stat().st_size for path in paths}
    fit = [path for path in paths if SMALLEST <= sizes[path] <= LARGEST]
    sample = random.Random(SEED).sample(fit, min(count, len(fit)))

    def make(folder):
        for path in sample:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, folder / path)
        return {"files": len(sample), "bytes": sum(sizes[path] for path in sample)}

    return made(f"pages-{count}", make, root=str(root), all=len(paths), bytes=sum(sizes.values()), seed=SEED)


def docs(part=1):
    """All pages (or one of `part`), linked into eight folders `0` … `7` of like size: the folder, and files and bytes of each."""
    root, paths = documentation()
    random.Random(SEED).shuffle(paths)
    paths = paths[:: part]

    def make(folder):
        sums = []
        for eighth in range(EIGHTHS):
            own = paths[eighth::EIGHTHS]
            for path in own:
                place = folder / str(eighth) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                link(root / path, place)
            sums.append({"files": len(own), "bytes": sum((root / path).stat().st_size for path in own)})
        return sums

    return made(f"docs-{part}", make, root=str(root), files=len(paths), seed=SEED)


def texts(part=1):
    """Parquet files with a column `text`, a gigabyte of it (or one of `part`): the folder, and files, rows and bytes of text.
    The text is what selectolax makes of all pages."""
    pages_folder, _ = docs(part)

    def make(folder):
        made = json.loads(python("pages/make_texts.py", pages_folder, folder))
        copies = -(-TEXT // part // made["bytes"])
        for path in sorted(folder.glob("*.parquet")):
            for copy in range(1, copies):
                link(path, folder / f"{path.stem}-{copy}.parquet")
        return {key: value * copies for key, value in made.items()}

    install("pyarrow", "selectolax")
    return made(f"texts-{part}", make, text=TEXT // part, seed=SEED)


def link(source, place):
    """The same file by another name; a copy where that can't be."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
