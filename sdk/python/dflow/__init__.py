"""dflow for Python: functions and operators that run in the sandbox, and programs of `command` stages."""

from dflow.columns import Column
from dflow.function import batch

__all__ = ["Column", "batch", "command"]


def __getattr__(name):
    # What serves a `command` stage needs pyarrow, which isn't in the sandbox.
    if name == "command":
        from dflow.command import command

        # In the place of the module of the same name, which its import has put there.
        globals()["command"] = command
        return command
    raise AttributeError(f"module `dflow` has no `{name}`")
