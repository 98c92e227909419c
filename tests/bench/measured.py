"""Runs a program and says what it took: seconds, seconds of processors, and the memory of all its processes."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# Seconds between two looks at the memory of one process, and of several: shared pages are told apart then, which takes longer.
ONE, SEVERAL = 0.01, 0.2


@dataclass
class Sample:
    """One run of a program. Memory is in bytes, the most that was seen; nothing for what wasn't watched."""

    seconds: float
    cpu: float
    # Resident memory of all its processes; `anon` is what is in no file. Not `ru_maxrss`: that of a child begins with its parent's.
    peak: int
    anon: int
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self):
        return self.code == 0

    def last_words(self):
        """The last line that says something, of a program that failed."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return f"exit {self.code}: {(errors or lines or ['nothing said'])[-1][:300]}"


def run(command, cwd=None, env=None, watch=True, limit=900, enter=None):
    """Runs a program to its end. Unless `watch`, nothing but the kernel's account of it is taken, which is best for what takes
    milliseconds. What takes longer than `limit` seconds is killed. `enter` is called in the new process before the program."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, preexec_fn=enter
        )
        timer = threading.Timer(limit, kill, [process.pid])
        timer.start()
        memory = Memory(process.pid)
        if watch:
            memory.start()
        # Not `process.wait`: only this tells what this one process and those it waited for have used.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        memory.stop()
        return Sample(
            seconds=seconds,
            cpu=usage.ru_utime + usage.ru_stime,
            peak=memory.peak,
            anon=memory.anon,
            code=process.returncode,
            stdout=text(out),
            stderr=text(err),
        )


def text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def kill(pid):
    """Ends a program that we started, and what it started in its session."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Memory(threading.Thread):
    """Looks at the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.anon, self.ended = pid, 0, 0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            pids = tree(self.pid)
            if len(pids) == 1:
                resident, anon = fields(f"/proc/{self.pid}/status", "VmHWM:", "RssAnon:")
            else:
                each = [fields(f"/proc/{pid}/smaps_rollup", "Pss:", "Pss_Anon:") for pid in pids]
                resident, anon = (sum(column) for column in zip(*each)) if each else (0, 0)
            self.peak, self.anon = max(self.peak, resident), max(self.anon, anon)
            self.ended.wait(ONE if len(pids) == 1 else SEVERAL)

    def stop(self):
        self.ended.set()
        if self.is_alive():
            self.join()


def tree(pid):
    """A process and its descendants."""
    found, left = [], [pid]
    while left:
        pid = left.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                left += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def fields(path, *names):
    """Fields of a file of /proc, in bytes; nothing when the process has just ended."""
    found = dict.fromkeys(names, 0)
    try:
        for line in Path(path).read_text().splitlines():
            words = line.split()
            if words and words[0] in found:
                found[words[0]] = int(words[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return tuple(found.values())
