"""Runs operators in plain Python, through the same code that takes batches apart in a component: for tests.

    ran = run(Upper, {}, {"text": ("utf8", ["a", None])})
    ran.rows       [{"upper": "A"}, {"upper": None}]
    ran.parents    [0, 1]
    ran.errors     {}
"""

from array import array
from contextlib import contextmanager
from dataclasses import dataclass

from . import arrow, blobs, columns, http, models
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
        columns.build(field, values, made, top=True)
    return fields, columns.read(fields, [Node(*node) for node in made.nodes], made.buffers)


@contextmanager
def _in_place_of(module, **functions):
    """Has functions of a module replaced for the time of a block."""
    before = {name: getattr(module, name) for name in functions}
    vars(module).update(functions)
    try:
        yield
    finally:
        vars(module).update(before)


def answering(answer):
    """`with answering(lambda request: Response(200)):` has it answer what `http.send` sends; it gives a `Response` or raises `Unanswered`."""
    return _in_place_of(http, answer=answer)


def modelling(complete=models.completion, embed=models.vector):
    """`with modelling(lambda model, prompt: Answer("yes")):` has it say what models say; `embed(model, text)` gives vectors. Both may raise `Unanswered`."""
    return _in_place_of(models, completion=complete, vector=embed)


def _files(operator, given):
    """Columns with the sizes of files in their place, and the files of each such column's position."""
    ports = {port.name for port in operator.description.ports if "file" in port.types}
    taken = {place: values for place, (name, (type, values)) in enumerate(given.items()) if name in ports and type == "binary"}
    sizes = {list(given)[place]: ("uint64", [None if file is None else len(file) for file in files]) for place, files in taken.items()}
    return given | sizes, taken


def _resolved(field, column, parents, ranges):
    """The values that ranges of an input column's values stand for."""
    assert field.format == column.field.format in ("u", "z"), f"`{field.name}` is {field.type}, and ranges of {column.type}"
    starts, ends = (array("I", bounds) for bounds in ranges)
    for row, start, end in zip(parents, starts, ends):
        whole = column[row] or b""
        whole = whole.encode() if isinstance(whole, str) else whole
        what = f"`{field.name}`: the range {start}..{end} of row {row}"
        assert start <= end <= len(whole), f"{what} is outside of its {len(whole)} bytes"
        try:
            yield whole[start:end].decode() if field.format == "u" else whole[start:end]
        except UnicodeDecodeError:
            raise AssertionError(f"{what} cuts a character") from None


def run(operator, settings, given, rows=None):
    """Opens an operator on columns and gives it all rows as one batch. `rows` says how many they are where there are no columns.

    Slice columns are the text or bytes that they stand for. What is given as `binary` for a port of files is read with `blobs`.
    """
    given, files = _files(operator, given)
    fields, taken = batch(given)
    rows = len(taken[0]) if taken else rows or 0
    made = operator()
    opened = made.open(settings, fields)
    sliced = opened.sliced(fields)
    plain = [field for place, field in enumerate(opened.columns) if place not in sliced]
    out, parents, failed = [], [], {}
    last = -1

    def send(count, nodes, buffers, of, slices, errors):
        nonlocal last
        read = iter(columns.read(plain, [Node(*node) for node in nodes], buffers))
        ranges = {place: bounds for place, *bounds in slices}
        names = [field.name for field in opened.columns]
        done = array("I", of or b"").tolist() if of is not None else list(range(len(parents), len(parents) + count))
        assert len(done) == count, f"{count} rows and {len(done)} parents"
        mentioned = sorted([*done, *(row for row, _, _ in errors)])
        assert done == sorted(done) and all(row >= last for row in mentioned), "parents descend"
        last = mentioned[-1] if mentioned else last
        values = [
            list(_resolved(field, taken[sliced[place]], done, ranges[place])) if place in sliced else next(read).tolist()
            for place, field in enumerate(opened.columns)
        ]
        out.extend(dict(zip(names, row)) for row in (zip(*values) if values else [()] * count))
        parents.extend(done)
        failed.update({row: (kind, message) for row, kind, message in errors})
        return True

    def part(asked):
        file = files.get(asked.port, [])[asked.row]
        return file[asked.offset : asked.offset + asked.length]

    emit = Emitter(opened.columns, rows, send, sliced)
    with _in_place_of(blobs, part=part):
        made.process(taken, emit)
    emit.finish()
    kept = [place for place, parent in enumerate(parents) if parent not in failed]
    ran = Ran(opened.shape, opened.columns, [out[place] for place in kept], [parents[place] for place in kept], failed)
    if opened.shape == "map":
        assert sorted([*ran.parents, *failed]) == list(range(rows)), "a row is neither done nor failed"
    return ran
