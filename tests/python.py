#!/usr/bin/env python3
"""Runs the tests of sdk/python, with a Python that has pyarrow (in a virtual environment under the cache)."""

import re
import subprocess
import sys

from common import ROOT, needs_pyarrow

SDK = ROOT / "sdk/python"


def main():
    command = [needs_pyarrow(), "-B", "-m", "unittest", "discover", "-s", "tests"]
    done = subprocess.run(command, cwd=SDK, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    run = int(found[1]) if (found := re.search(r"^Ran (\d+) tests?", done.stdout, re.MULTILINE)) else 0
    broken = sum(int(count) for count in re.findall(r"(?:failures|errors)=(\d+)", done.stdout))
    print(f"{run - broken} passed, {broken} failed")
    sys.exit(0 if done.returncode == 0 and run else 1)


if __name__ == "__main__":
    main()
