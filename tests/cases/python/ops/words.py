"""Functions of all shapes."""

from dataclasses import dataclass
from typing import Iterator

import dflow
from helpers.count import words


@dataclass
class Counted:
    words: int
    first: str | None


def counted(text: str, least: int) -> Counted | None:
    if text is None:
        return None
    if "bad" in text:
        raise ValueError(f"{text!r} is bad")
    found = words(text)
    if len(found) < least:
        return None
    return Counted(len(found), found[0])


def each(text: str) -> Iterator[str]:
    print(f"cutting {text!r}")
    yield from words(text)


@dflow.batch
def shout(word):
    return [text.upper() for text in word]


def long(word: str) -> bool:
    return len(word) > 3
