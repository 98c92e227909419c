"""Imports all of the standard library: what isn't imported when the component is made can't be imported afterwards."""

import importlib
import pkgutil
import sys
import warnings

# What prints, opens windows, is about other machines, or is only for Python's own tests and tools.
WITHOUT = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "test", "lib2to3", "ensurepip", "pydoc_data", "venv", "msilib", "nt", "winreg", "__main__"}


def _all():
    for name in sorted(sys.stdlib_module_names - WITHOUT):
        yield name
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__path__"):
            for inside in pkgutil.walk_packages(module.__path__, f"{name}."):
                if not inside.name.endswith(("__main__", ".test", ".tests")) and not inside.name.split(".")[1].startswith("test"):
                    yield inside.name


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for each in _all():
        try:
            importlib.import_module(each)
        except Exception:
            # Not all of it is there on every platform.
            continue
