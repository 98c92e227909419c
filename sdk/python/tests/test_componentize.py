"""What `componentize` finds out of a module's text."""

import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "componentize"


def script():
    """The script as a module: its name has no ending."""
    spec = importlib.util.spec_from_loader("componentize", importlib.machinery.SourceFileLoader("componentize", str(SCRIPT)))
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


class Capabilities(unittest.TestCase):
    def test_are_those_that_are_imported(self):
        wanted = script().wanted
        for text, expected in [
            ("from dflow import arrow, http", ["http"]), ("from dflow import (\n    arrow,\n    models,\n)", ["models"]), ("import dflow.blobs as b", ["blobs"]),
            ("def f():\n    from dflow.http import send, Request", ["http"]), ("import json, dflow.models\nfrom dflow import blobs", ["blobs", "models"]),
            ("# from dflow import http\nfrom dflow import arrow  # not http", []), ("import http.client\nfrom http import HTTPStatus", []), ("from dflow import https", []),
        ]:
            with self.subTest(text), tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "own.py").write_text(text)
                self.assertEqual(wanted(Path(folder)), expected)


if __name__ == "__main__":
    unittest.main()
