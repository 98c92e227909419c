"""Gives the length of a text, and does something to the files around it when it meets the second one."""

import shutil
import sys
from pathlib import Path

from dflow import command

what = sys.argv[1]


@command
def length(table):
    texts = table["content"].to_pylist()
    if "two\n" in texts and not Path("done").exists():
        Path("done").touch()
        if what == "remove":
            shutil.rmtree("out")
        if what == "change":
            Path("in/3.txt").write_text("three, changed while the run went on\n")
    return {"length": [len(text) for text in texts]}
