"""The queries: those of the pipelines beside this file, for engines that aren't dflow. One program a query, `WITH.py QUERY TABLES OUT`."""

import json
import sys
import time
import tomllib
from pathlib import Path


def asked():
    """The query's name, its text, its tables' files by name, and the file for the answer."""
    name, tables, out = sys.argv[1:]
    stages = tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text())["stage"]
    files = {stage: f"{tables}/{stage}.parquet" for stage, keys in stages.items() if "read" in keys}
    return name, stages["answer"]["sql"], files, f"{out}/0.parquet"


def timed(work):
    """Does the work, and says how long it took without the start of the program."""
    began = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - began}))
