"""Runs operators in plain Python, through the same code that takes batches apart in a component: for tests.

    ran = run(Upper, {}, {"text": ("utf8", ["a", None])})
    ran.rows       [{"upper": "A"}, {"upper": None}]
    ran.parents    [0, 1]
    ran.errors     {}
"""

from array import array
from dataclasses import dataclass

from . import arrow, columns
from .operator import Emitter


@dataclass
class Node:
    """A node of the contract's."""

    length: int
    null_count: int
    buffers: int


@dataclass
class Ran:
    """What came of a batch."""

    shape: str
    fields: list
    rows: list
    parents: list
    errors: dict


def batch(given):
    """Columns of a batch: {name: (type or `arrow.Field`, values)}."""
    fields, made = [], columns.Built()
    for name, (type, values) in given.items():
        field = type.named(name) if isinstance(type, arrow.Field) else arrow.of(name, type)
        fields.append(field)
        columns.build(field, values, made)
    return fields, columns.read(fields, [Node(*node) for node in made.nodes], made.buffers)


def run(operator, settings, given, rows=None):
    """Opens an operator on columns and gives it all rows as one batch. `rows` says how many they are where there are no columns."""
    fields, taken = batch(given)
    rows = len(taken[0]) if taken else rows or 0
    made = operator()
    opened = made.open(settings, fields)
    out, parents, failed = [], [], {}
    last = -1

    def send(count, nodes, buffers, of, errors):
        nonlocal last
        read = columns.read(opened.columns, [Node(*node) for node in nodes], buffers)
        names = [field.name for field in opened.columns]
        done = array("I", of or b"").tolist() if of is not None else list(range(len(parents), len(parents) + count))
        assert len(done) == count, f"{count} rows and {len(done)} parents"
        mentioned = sorted([*done, *(row for row, _, _ in errors)])
        assert done == sorted(done) and all(row >= last for row in mentioned), "parents descend"
        last = mentioned[-1] if mentioned else last
        out.extend(dict(zip(names, values)) for values in (zip(*(column.tolist() for column in read)) if read else [()] * count))
        parents.extend(done)
        failed.update({row: (kind, message) for row, kind, message in errors})
        return True

    emit = Emitter(opened.columns, rows, send)
    made.process(taken, emit)
    emit.finish()
    kept = [place for place, parent in enumerate(parents) if parent not in failed]
    ran = Ran(opened.shape, opened.columns, [out[place] for place in kept], [parents[place] for place in kept], failed)
    if opened.shape == "map":
        assert sorted([*ran.parents, *failed]) == list(range(rows)), "a row is neither done nor failed"
    return ran
