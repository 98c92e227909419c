"""The component: `componentize-py … componentize dflow.interpreter.component`."""

from dflow import component

from . import everything  # noqa: F401  before the interpreter's snapshot is taken
from .functions import Call, Imports, Signature

Operators = component.exports_of("python", "0.1.0", "functions in Python, from their source text", [Imports, Signature, Call])
