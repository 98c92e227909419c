"""What the runners share: the binary, colourless environments, counting."""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "dflow/target")
PYTHON = CACHE / "dflow/python/bin/python"
PYARROW = "pyarrow==25.0.1"
DFLOW = Path(os.environ.get("DFLOW") or TARGET / "release/dflow-host")


def environment(**more):
    """An environment in which nothing but the test decides: no colours, no parameters, one cache of compiled plugins."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    fixed = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "NO_COLOR": "1", "COLUMNS": "120"}
    return kept | fixed | {"DFLOW": str(DFLOW), "DFLOW_CACHE_DIR": str(TARGET / "test-cache"), "PLUGINS": str(ROOT / "plugins/.built"), "GUESTS": str(ROOT / "tests/guests/.built"), "SERVERS": str(ROOT / "tests/servers"), "PYTHON": str(PYTHON), "PYTHONPATH": str(ROOT / "sdk/python"), "PYTHONDONTWRITEBYTECODE": "1"} | {k: str(v) for k, v in more.items()}


def dflow(*arguments, cwd, **more):
    """Runs the binary, and gives what it printed. What it says on stderr is in the error when it fails."""
    command = [str(DFLOW), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def needs_dflow():
    """Ends the program when there is no binary to test."""
    if not DFLOW.exists():
        sys.exit(f"error: there is no `{DFLOW}`\nhint: `sdk/rust/build plugins && cargo build --release`, or name another in DFLOW")


def needs_pyarrow():
    """A Python that has pyarrow, in a virtual environment under the cache: what `command` stages are run with."""
    if not PYTHON.exists():
        venv.create(PYTHON.parent.parent, with_pip=True)
    there = subprocess.run([PYTHON, "-c", "import pyarrow"], capture_output=True)
    if there.returncode != 0:
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYARROW], check=True)
    return PYTHON


def book():
    """The folder that holds the Rust Book's HTML as `book/`."""
    if folder := os.environ.get("DFLOW_DOCS"):
        return Path(folder)
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    folder = Path(sysroot) / "share/doc/rust/html"
    if not (folder / "book").is_dir():
        sys.exit(f"error: `{folder}/book` is missing\nhint: `rustup component add rust-docs`, or DFLOW_DOCS=a folder with `book/`")
    return folder


def refused(ended, code, *words):
    """That a command (exit code, stdout, stderr) ended so, and says these words on stderr."""
    found, out, err = ended
    text = " ".join(err.replace("│", " ").split())
    assert found == code, f"it ended with {found}, not {code}:\n{out}\n{err}"
    for word in words:
        assert word in text, f"`{word}` isn't in:\n{err}"


class Tally:
    """Counts tests and says how each went."""

    def __init__(self):
        self.passed = self.failed = 0

    def test(self, name, test):
        """Runs a test: a function that raises AssertionError when it fails."""
        try:
            test()
        except AssertionError as error:
            self.failed += 1
            print(f"FAILED {name}\n{error}", flush=True)
        else:
            self.passed += 1
            print(f"ok {name}", flush=True)

    def finish(self):
        """Prints the count and ends the program."""
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)
