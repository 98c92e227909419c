"""Who runs in the benchmarks: dflow's binary, native programs, and peers in a Python environment of their own."""

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import CACHE, DFLOW, ROOT, TARGET, environment  # noqa: E402

# Inputs, outputs and compiled plugins of the benchmarks: all of it can be made again.
BENCH = CACHE / "dflow/bench"
PEERS = CACHE / "dflow/peers/bench"
PYTHON = PEERS / "bin/python"


class NotInstalled(Exception):
    """A peer isn't there; the text says why."""


def install(*packages):
    """Has pip install what is missing of these, in the versions of requirements.txt."""
    if not PYTHON.exists():
        venv.create(PEERS, with_pip=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", HERE / "requirements.txt", *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "pip failed").splitlines()
        raise NotInstalled(f"{' '.join(packages)}: {words[-1]}")


def versions():
    """What is installed in the peers' environment, and in which versions."""
    if not PYTHON.exists():
        return {}
    done = subprocess.run([PYTHON, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"], capture_output=True, text=True)
    return {package["name"]: package["version"] for package in json.loads(done.stdout or "[]")}


def peer(program, *arguments):
    """The command that runs a program of ours in the peers' environment."""
    return [PYTHON, HERE / program, *arguments]


def python(program, *arguments):
    """Runs a program in the peers' environment for what it prints."""
    done = subprocess.run([str(word) for word in peer(program, *arguments)], stdout=subprocess.PIPE, text=True, env=surroundings())
    if done.returncode != 0:
        sys.exit(f"error: `{program}` failed")
    return done.stdout


def surroundings():
    """The environment of all contenders. What asks for a number of threads gets that of the cores that we may use."""
    cores = str(len(os.sched_getaffinity(0)))
    return environment(
        DFLOW_CACHE_DIR=BENCH / "compiled",
        POLARS_MAX_THREADS=cores,
        RAYON_NUM_THREADS=cores,
        DAFT_ANALYTICS_ENABLED="0",
        DO_NOT_TRACK="true",
        RAY_USAGE_STATS_ENABLED="0",
        RAY_DATA_DISABLE_PROGRESS_BARS="1",
        DAFT_PROGRESS_BAR="0",
    )


def dflow(pipeline, state, *arguments, **parameters):
    """The command that runs a pipeline of a benchmark's folder, whatever was run there before."""
    given = [word for key, value in parameters.items() for word in ("-p", f"{key}={value}")]
    return [DFLOW, "run", HERE / pipeline, "--json", "--fresh", "--state", state, *given, *arguments]


def knows(option):
    """Whether `dflow-host run` has an option."""
    said = subprocess.run([DFLOW, "run", "--help"], capture_output=True, text=True).stdout
    return f"{option} " in said or f"{option}\n" in said


def native(binary):
    """Builds a program of `native/`, and gives its path."""
    target = TARGET / "guests-native"
    command = ["cargo", "build", "--profile", "measured", "--quiet", "--bin", binary]
    done = subprocess.run(command, cwd=HERE / "native", stdout=sys.stderr, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    if done.returncode != 0:
        raise NotInstalled("cargo can't build it")
    return target / "measured" / binary


def component(folder):
    """Builds the plugins of a folder into its `.built/`, unless they were built of the same sources."""
    folder = HERE / folder
    sources = [*folder.rglob("*.rs"), folder / "Cargo.toml", *(ROOT / "sdk/rust/src").rglob("*.rs"), *(ROOT / "wit").glob("*.wit")]
    digest, note = hashlib.sha256(), folder / ".built/sources"
    for path in sorted(sources):
        digest.update(path.read_bytes())
    if not note.exists() or note.read_text() != digest.hexdigest():
        subprocess.run([ROOT / "sdk/rust/build", folder], check=True, stdout=sys.stderr)
        note.write_text(digest.hexdigest())
