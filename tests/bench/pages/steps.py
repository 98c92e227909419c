"""What the Python peers do with a page: the same steps for all of them."""

import os
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser

# What a browser doesn't show. As `html/text` has it.
HIDDEN = ["script", "style", "template", "noscript", "title", "textarea", "iframe", "noembed", "noframes", "svg", "audio", "video", "canvas", "datalist"]
SIZE, LENGTH, ALPHABETIC = 1000, 40, 0.4
# What all write: zstd at level 1.
PARQUET = {"compression": "zstd", "compression_level": 1}


def text(html):
    """The text of a page's body."""
    tree = LexborHTMLParser(html)
    tree.strip_tags(HIDDEN)
    return tree.body.text() if tree.body else ""


def chunks(text):
    """Pieces of at most so many characters, cut at the last line that fits, else at the last word."""
    found, start = [], 0
    while start < len(text):
        end = start + SIZE
        if end < len(text):
            cut = text.rfind("\n", start + 1, end)
            if cut < 0:
                cut = text.rfind(" ", start + 1, end)
            if cut >= 0:
                end = cut + 1
        chunk = text[start:end].strip()
        if chunk:
            found.append(chunk)
        start = end
    return found


def keeps(chunk):
    """The validator."""
    return len(chunk) >= LENGTH and sum(map(str.isalpha, chunk)) >= ALPHABETIC * len(chunk)


def paths(folder):
    """The pages below a folder."""
    return sorted(str(path) for path in Path(folder).rglob("*.html"))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def uri(path, folder):
    """A page's path below the folder; what engines give as a URL, too."""
    return os.path.relpath(path.removeprefix("file://"), folder)


def rows(path, folder):
    """The rows of a page: its path, the chunk's number, the chunk."""
    name = uri(path, folder)
    return [(name, index, chunk) for index, chunk in enumerate(chunks(text(read(path)))) if keeps(chunk)]
