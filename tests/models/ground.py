"""The ground of tests that ask models: a folder with rows and a pipeline, and the server that answers."""

import json
import subprocess
from pathlib import Path

from common import DFLOW, environment, refused

KEY = "sk-secret-4711"
FOLDER = 'write = "out/"\nformat = "jsonl"\nmode = "replace"'


class Ground:
    """A folder with rows and a pipeline that asks a model about each."""

    def __init__(self, server, parent, name, rows=20, **behaviour):
        self.server, self.folder = server, Path(parent) / name
        self.folder.mkdir()
        server.control(**behaviour)
        self.rows(rows)

    def rows(self, rows, text=lambda i: f"row {i}"):
        lines = (json.dumps({"n": i, "text": text(i)}) for i in range(rows))
        (self.folder / "rows.jsonl").write_text("".join(line + "\n" for line in lines))

    def pipeline(self, stage, model="", top="", sink=FOLDER, more=""):
        """`stage` is the stage `asked`, `model` more keys of the model `m`."""
        defaults = {"provider": '"openai"', "endpoint": f'"{self.server.endpoint}"', "model": '"small-chat"'}
        own = model.split("[", 1)[0]
        written = "".join(f"{key} = {value}\n" for key, value in defaults.items() if f"{key} =" not in own)
        text = f"{top}\n[model.m]\n{written}{model}\n[stage.rows]\nread = \"rows.jsonl\"\n[stage.asked]\nfrom = \"rows\"\n{stage}\n[stage.out]\nfrom = \"asked\"\n{sink}\n{more}"
        (self.folder / "pipeline.toml").write_text(text)

    def run(self, *arguments, command="run", timeout=300, **more):
        """Runs a command; gives exit code, stdout and stderr."""
        line = [str(DFLOW), command, *map(str, arguments)]
        done = subprocess.run(line, cwd=self.folder, env=environment(**more), capture_output=True, text=True, timeout=timeout)
        assert "panicked" not in done.stderr, done.stderr
        assert KEY not in done.stdout + done.stderr, "the key is shown"
        return done.returncode, done.stdout, done.stderr

    def good(self, *arguments, code=0, **more):
        """Runs the pipeline, which must end so; gives its report."""
        found, out, err = self.run("--json", *arguments, **more)
        assert found == code, f"it ended with {found}, not {code}:\n{out[-3000:]}\n{err}"
        last = json.loads(out.splitlines()[-1]) if out else {}
        return last.get("report")

    def refused(self, code, *words, command="run", **more):
        """Runs a command that must end so, and say these words on stderr."""
        refused(self.run(command=command, **more), code, *words)

    def out(self):
        lines = [line for file in sorted((self.folder / "out").glob("*.jsonl")) for line in file.read_text().splitlines()]
        return sorted(map(json.loads, lines), key=lambda row: row.get("n", 0))

    def dead(self):
        return [json.loads(line) for line in self.run("list", "--json", command="dead")[1].splitlines()]

    def asked(self, report):
        return next(stage for stage in report["stages"] if stage["stage"] == "asked")


def equal(found, expected, what=""):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def exactly(number):
    """A range of `explain --cost`, of one number."""
    return {"low": number, "likely": number, "high": number}
