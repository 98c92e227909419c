"""Errors of people's functions, as they show them."""

import traceback


COMMAND = "a `command` stage runs a program outside of the sandbox"


def instead(error):
    """What is to be done where the sandbox is why."""
    if isinstance(error, AttributeError) and getattr(error.obj, "__name__", None) == "os":
        return f" (the sandbox has no programs, users or processes; {COMMAND})"
    if isinstance(error, OSError):
        return " (there are no files in the sandbox; what a function needs comes in by its parameters, or lies beside it as a module)"
    if isinstance(error, MemoryError):
        return "more memory than `limits.memory` lets it have"
    return ""


def told(error, names, named=True):
    """An error with the frames of its own files alone, innermost last; without its name where that is said already."""
    ours = set(names)
    kept = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in ours]
    said = "".join(traceback.format_exception_only(error)).strip() if named else str(error)
    said += instead(error)
    lines = [said]
    for frame in kept[-6:]:
        lines.append(f"  {frame.filename}:{frame.lineno} in {frame.name}" + (f": {frame.line}" if frame.line else ""))
    cause = error.__cause__
    if cause is not None:
        lines.append(f"because of {type(cause).__name__}: {cause}")
    return "\n".join(lines)
