"""Gives the file's number, and moves the last file away when it meets the first one."""

from pathlib import Path

from dflow import command


@command
def seen(table):
    numbers = table["n"].to_pylist()
    if "1" in numbers and not Path("done").exists():
        Path("done").touch()
        Path("in/8.parquet").rename("8.parquet")
    return {"file": numbers}
