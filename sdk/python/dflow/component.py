"""The component side: what the host calls, and what is called there. Only in a component, where `wit_world` is.

    Operators = component.exports_of("words", "0.1.0", "what it is about", [Upper, Count])
"""

import json
import sys
import traceback

from . import arrow, columns
from .operator import Emitter, Failure, describe

try:
    from componentize_py_types import Err
    from wit_world import exports
    from wit_world.exports.operators import Opened, SliceColumn
    from wit_world.imports import emitting, types
except ImportError:
    # In plain Python, where a module's operators are tested, nobody calls a component.
    exports = None


def _failure(error):
    """Any exception as a failure: one that got out would end the interpreter."""
    if isinstance(error, Failure):
        return Err(getattr(types, f"Failure_{error.kind.capitalize()}")(str(error)))
    return Err(types.Failure_Other("".join(traceback.format_exception(error)).strip()))


def _send(rows, nodes, buffers, parents, slices, errors):
    nodes = [types.Node(*node) for node in nodes]
    slices = [emitting.Slice(*each) for each in slices]
    errors = [emitting.RowError(*error) for error in errors]
    return emitting.emit(emitting.Output(rows, nodes, buffers, parents, slices, errors))


def exports_of(plugin, version, summary, operators):
    """The class that a component's module has as `Operators`; None in plain Python."""
    if exports is None:
        return None
    by_name = {operator.description.name: operator for operator in operators}
    text = json.dumps(describe(plugin, version, summary, operators))

    class Operators(exports.Operators):
        def describe(self):
            return text

        def open(self, operator, settings, input):
            global OPEN
            try:
                made = by_name[operator]()
                fields = arrow.read(input.fields)
                opened = made.open(json.loads(settings), fields)
                sliced = opened.sliced(fields)
                OPEN = made, fields, opened.columns, sliced
                sys.stdout.flush()
                output = types.Schema([types.Field(*field) for field in arrow.flat(opened.columns)])
                return Opened(output, opened.shape, [SliceColumn(*each) for each in sliced.items()])
            except BaseException as error:
                raise _failure(error) from None

        def process(self, input):
            try:
                made, fields, output, sliced = OPEN
                emit = Emitter(output, input.rows, _send, sliced)
                made.process(columns.read(fields, input.nodes, input.buffers), emit)
                emit.finish()
                sys.stdout.flush()
            except BaseException as error:
                raise _failure(error) from None

    return Operators


OPEN = None
