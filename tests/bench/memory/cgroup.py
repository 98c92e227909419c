"""A control group of our own, below the one that we are in, that holds a limit of memory."""

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class CantMake(Exception):
    """There can be none here; the text says why."""


class Cgroup:
    """Made on entering, gone on leaving. What runs in it is limited together, its page cache too."""

    def __init__(self, limit):
        groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
        own = groups.get("memory")
        self.first = own is not None
        above = ROOT / "memory" / own.lstrip("/") if self.first else ROOT / groups.get("", "/").lstrip("/")
        self.folder, self.limit = above / f"dflow-bench-{os.getpid()}", limit

    def __enter__(self):
        try:
            self.folder.mkdir()
        except OSError as error:
            raise CantMake(str(error)) from error
        try:
            (self.folder / ("memory.limit_in_bytes" if self.first else "memory.max")).write_text(str(self.limit))
        except OSError as error:
            self.folder.rmdir()
            raise CantMake(str(error)) from error
        return self

    def __exit__(self, *_):
        self.folder.rmdir()

    def enter(self):
        """Moves this process in: what it starts is in it, too."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self):
        """How often the kernel ended a process in it for its memory."""
        text = (self.folder / ("memory.oom_control" if self.first else "memory.events")).read_text()
        return dict(line.split() for line in text.splitlines()).get("oom_kill", "0")
