"""Columns: Arrow arrays as views over the bytes that came in, and bytes made of Python's values.

`Column` reads. Numbers are views (`column.values`); everything else becomes Python's values when it is asked for (`column[i]`, `column.tolist()`).
`build` writes: it gives an array's length, number of nulls and buffers, and those of its children, in the contract's order.
"""

import datetime
import decimal
import struct
import uuid
from array import array
from itertools import accumulate, chain

from . import arrow

EPOCH = datetime.datetime(1970, 1, 1)
DAY = datetime.date(1970, 1, 1).toordinal()
BITS = [tuple(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
BOOLS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]


class WrongValue(ValueError):
    """A value that isn't of its column's type: `row` is its place."""

    def __init__(self, row, message):
        super().__init__(message)
        self.row = row


class Column:
    """An array of a batch. It is a sequence: `len(column)`, `column[i]`, `for value in column`, `column.tolist()`; nulls are None."""

    __slots__ = ("field", "length", "null_count", "children", "_buffers", "_list")

    def __init__(self, field, length, null_count, buffers, children=()):
        self.field, self.length, self.null_count, self.children = field, length, null_count, children
        self._buffers, self._list = buffers, None

    @property
    def _is_joined(self):
        """Whether its texts come joined by U+0000, which one call takes apart."""
        return self.field.format == "u" and self.length and not self._buffers[1] and not self.field.dictionary

    @property
    def buffers(self):
        """Its buffers, as Arrow has them."""
        if self._is_joined:
            values = bytes(self._buffers[2]).split(b"\0")
            self._buffers = [self._buffers[0], _ends(map(len, values), self.field), b"".join(values)]
        return self._buffers

    @property
    def type(self):
        """The name of its type."""
        return self.field.type

    @property
    def values(self):
        """Its numbers as a memoryview, nulls as whatever stands there; of dates and times the numbers that they are."""
        code = self.field.code
        if code is None:
            raise TypeError(f"a column of {self.type} has no numbers; `tolist()` gives its values")
        return memoryview(self.buffers[1])[: self.length * struct.calcsize(code)].cast(code)

    @property
    def offsets(self):
        """Where its texts or lists begin, and where the last one ends, as a memoryview."""
        code = "q" if self.field.format in ("U", "Z", "+L") else "i"
        offsets = memoryview(self.buffers[1]).cast(code)
        return offsets[: self.length + 1] if len(offsets) else memoryview(b"\0" * struct.calcsize(code)).cast(code)

    @property
    def data(self):
        """The bytes of all its texts, one after another, as a memoryview."""
        return memoryview(self.buffers[2])

    def is_valid(self):
        """Whether each value is there, as a list of 0 and 1; None when all are."""
        if not self.null_count:
            return None
        if not self._buffers or self.field.format == "n":
            return [0] * self.length
        return list(chain.from_iterable(map(BITS.__getitem__, self._buffers[0])))[: self.length]

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        if self._list is None and isinstance(place, int) and self.field.code and not self.null_count and not self.field.dictionary:
            value = READERS.get(self.field.format[:2])
            if value is None:
                return self.values[place]
        return self.tolist()[place]

    def __iter__(self):
        return iter(self.tolist())

    def __repr__(self):
        return f"<column `{self.field.name}` of {self.length} {self.type}>"

    def tolist(self):
        """Its values as Python's: a list that is made once."""
        if self._list is None:
            values = self._values()
            valid = self.is_valid() if self.field.format != "n" else None
            self._list = values if valid is None else [value if there else None for value, there in zip(values, valid)]
        return self._list

    def _values(self):
        format = self.field.format
        if self.field.dictionary:
            values, valid = self.children[0].tolist(), self.is_valid()
            keys = self.values.tolist()
            return [values[key] for key in keys] if valid is None else [values[key] if there else None for key, there in zip(keys, valid)]
        if format in ("u", "U"):
            return self._texts()
        if format in ("z", "Z"):
            data, offsets = self.buffers[2], self.offsets.tolist()
            return [data[begin:end] for begin, end in zip(offsets, offsets[1:])]
        reader = READERS.get(format[:2])
        if reader:
            return reader(self)
        if self.field.code:
            return self.values.tolist()
        raise TypeError(f"columns of {self.type} can't be read in Python yet; cast it before (`set = {{ {self.field.name} = \"…\" }}`)")

    def _texts(self):
        if self._is_joined:
            return str(self._buffers[2], "utf-8").split("\0")
        data, offsets = self.buffers[2], self.offsets.tolist()
        if data.isascii():
            text, begin, out = str(data, "ascii"), 0, []
            for end in offsets[1:]:
                out.append(text[begin:end])
                begin = end
            return out
        return [str(data[begin:end], "utf-8") for begin, end in zip(offsets, offsets[1:])]


def _bools(column):
    return list(chain.from_iterable(map(BOOLS.__getitem__, column.buffers[1])))[: column.length]


def _lists(column):
    values, offsets = column.children[0].tolist(), column.offsets.tolist()
    return [values[begin:end] for begin, end in zip(offsets, offsets[1:])]


def _fixed(column):
    width = int(column.field.format.split(":")[1])
    if column.field.format.startswith("+w"):
        values = column.children[0].tolist()
    else:
        values = column.buffers[1]
    return [values[i * width : (i + 1) * width] for i in range(column.length)]


def _structs(column):
    names = [child.field.name for child in column.children]
    if not names:
        return [{} for _ in range(column.length)]
    return [dict(zip(names, values)) for values in zip(*(child.tolist() for child in column.children))]


def _maps(column):
    offsets, entries = column.offsets.tolist(), column.children[0]
    keys, values = (child.tolist() for child in entries.children)
    return [dict(zip(keys[begin:end], values[begin:end])) for begin, end in zip(offsets, offsets[1:])]


def _times(column):
    format = column.field.format
    values = column.values.tolist()
    if format == "tdD":
        return [datetime.date.fromordinal(DAY + value) if -DAY < value < 2_932_897 else value for value in values]
    if format == "tdm":
        return [datetime.date.fromordinal(DAY + value // 86_400_000) for value in values]
    unit = arrow.UNITS[format[2]]
    if format.startswith("tD"):
        return [datetime.timedelta(microseconds=value * 1_000_000 // unit) for value in values]
    if format.startswith("tt"):
        return [(EPOCH + datetime.timedelta(microseconds=value * 1_000_000 // unit)).time() for value in values]
    zone = datetime.timezone.utc if format[4:] else None
    begin = EPOCH.replace(tzinfo=zone)
    return [begin + datetime.timedelta(microseconds=value * 1_000_000 // unit) for value in values]


def _decimals(column):
    precision, scale, *bits = map(int, column.field.format[2:].split(","))
    width = (bits[0] if bits else 128) // 8
    data = column.buffers[1]
    context = decimal.Context(prec=max(precision, 1) + 80)
    return [decimal.Decimal(int.from_bytes(data[i * width : (i + 1) * width], "little", signed=True)).scaleb(-scale, context) for i in range(column.length)]


READERS = {
    "n": lambda column: [None] * column.length,
    "b": _bools,
    "e": lambda column: list(struct.unpack(f"<{column.length}e", column.buffers[1][: 2 * column.length])),
    "+l": _lists, "+L": _lists, "+w": _fixed, "w:": _fixed, "+s": _structs, "+m": _maps,
    "td": _times, "ts": _times, "tt": _times, "tD": _times, "d:": _decimals,
}


def read(fields, nodes, buffers):
    """The columns of a batch."""
    nodes, buffers = iter(nodes), iter(buffers)

    def one(field):
        node = next(nodes)
        own = [next(buffers) for _ in range(node.buffers)]
        return Column(field, node.length, node.null_count, own, [one(child) for child in field.children])

    return [one(field) for field in fields]


class Built:
    """Arrays as the contract has them: (length, nulls, number of buffers) of each, and all buffers."""

    def __init__(self):
        self.nodes, self.buffers = [], []

    def node(self, length, nulls, *buffers):
        self.nodes.append((length, nulls, len(buffers)))
        self.buffers.extend(buffers)


def build(field, values, into, top=False):
    """Writes values into `into` as an array of a field; `top` for a column, whose texts may be joined, and not for what is below one.

    Raises `WrongValue` with the place of the first that isn't of the field's type.
    """
    if isinstance(values, Column):
        if values.field.format == field.format and not values.field.dictionary:
            return _copied(values, into, top)
        values = values.tolist()
    code = field.code
    if code and not field.children:
        if isinstance(values, array) and values.typecode == code:
            return into.node(len(values), 0, b"", values.tobytes())
        if isinstance(values, memoryview) and values.format == code:
            return into.node(len(values), 0, b"", values.tobytes())
    if not isinstance(values, (list, tuple)):
        values = list(values)
    if field.format == "u" and (_joined_text if top else _plain_text)(values, into):
        return None
    nulls = values.count(None)
    if nulls and not field.nullable:
        raise WrongValue(values.index(None), f"`{field.name}` is None, and it may not be")
    valid = b"" if not nulls else _bits(value is not None for value in values)
    if nulls and top and field.format == "u" and _joined_text(["" if value is None else value for value in values], into, nulls, valid):
        return None
    writer = WRITERS.get(field.format) or WRITERS.get(field.format[:2]) or (_numbers if code else None)
    if writer is None:
        raise WrongValue(0, f"`{field.name}` is of type {field.type}, which Python can't make yet")
    writer(field, values, valid, nulls, into)


def _plain_text(values, into):
    """Writes text without nulls that is ASCII alone; says whether it was."""
    try:
        text = "".join(values)
    except TypeError:
        return False
    if not text.isascii() or len(text) > 2**31 - 1:
        return False
    into.node(len(values), 0, b"", struct.pack(f"<{len(values) + 1}i", *accumulate(map(len, values), initial=0)), text.encode())
    return True


def _joined_text(values, into, nulls=0, valid=b""):
    """Writes text joined by U+0000: one call, in which no loop is Python's. Says whether it could."""
    try:
        text = "\0".join(values)
        encoded = text.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    if text.count("\0") != len(values) - 1 or len(encoded) > 2**31 - 1:
        return False
    into.node(len(values), nulls, valid, b"", encoded)
    return True


def _copied(column, into, top=False):
    into.node(column.length, column.null_count, *(column._buffers if top else column.buffers))
    for child in column.children:
        _copied(child, into)


def _bits(flags):
    bits, out = 0, bytearray()
    for place, flag in enumerate(flags):
        bits |= bool(flag) << (place & 7)
        if place & 7 == 7:
            out.append(bits)
            bits = 0
    return bytes(out) + (bytes([bits]) if bits or not out else b"")


def _wrong(field, values, is_one, what):
    """The error of the first value that isn't one."""
    for row, value in enumerate(values):
        if value is not None and not is_one(value):
            return WrongValue(row, f"`{field.name}` is to be {what}, and is {_shown(value)}")
    return WrongValue(0, f"`{field.name}` can't be written as {field.type}")


def _shown(value):
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"


def _numbers(field, values, valid, nulls, into):
    convert = CONVERTERS.get(field.format[:2])
    try:
        numbers = values
        if convert or nulls:
            numbers = [0 if value is None else convert(field, value) if convert else value for value in values]
        into.node(len(values), nulls, valid, array(field.code, numbers).tobytes())
    except (TypeError, OverflowError, ValueError, AttributeError):
        def is_one(value):
            try:
                array(field.code, [convert(field, value) if convert else value])
                return True
            except (TypeError, OverflowError, ValueError, AttributeError):
                return False

        raise _wrong(field, values, is_one, field.type) from None


def _day(field, value):
    days = value.toordinal() - DAY
    return days if field.format == "tdD" else days * 86_400_000


def _instant(field, value):
    unit = arrow.UNITS[field.format[2]]
    if isinstance(value, datetime.datetime):
        value = (value.astimezone(datetime.timezone.utc).replace(tzinfo=None) if value.tzinfo else value) - EPOCH
    elif isinstance(value, datetime.time):
        value = datetime.datetime.combine(EPOCH.date(), value) - EPOCH
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return micros * unit // 1_000_000


CONVERTERS = {"td": _day, "ts": _instant, "tt": _instant, "tD": _instant}


def _halves(field, values, valid, nulls, into):
    try:
        into.node(len(values), nulls, valid, struct.pack(f"<{len(values)}e", *(0 if value is None else value for value in values)))
    except (struct.error, OverflowError, TypeError):
        raise _wrong(field, values, lambda value: isinstance(value, (int, float)) and abs(value) < 65520, field.type) from None


def _booleans(field, values, valid, nulls, into):
    if not all(value is True or value is False or value is None for value in values):
        raise _wrong(field, values, lambda value: isinstance(value, bool), "a bool")
    into.node(len(values), nulls, valid, _bits(values))


def _ends(lengths, field):
    code = "q" if field.format in ("U", "Z", "+L") else "i"
    try:
        return array(code, accumulate(lengths, initial=0)).tobytes()
    except OverflowError:
        raise WrongValue(0, f"`{field.name}` has more than 2 GiB in one batch; emit fewer rows at a time") from None


def _text(field, values, valid, nulls, into):
    if nulls:
        values = ["" if value is None else value for value in values]
    try:
        text = "".join(values)
        encoded = text.encode()
        if len(encoded) == len(text):
            return into.node(len(values), nulls, valid, _ends(map(len, values), field), encoded)
        each = [value.encode() for value in values]
    except (TypeError, UnicodeEncodeError):
        def is_one(value):
            try:
                return isinstance(value, str) and value.encode() is not None
            except UnicodeEncodeError:
                return False

        raise _wrong(field, values, is_one, "text") from None
    into.node(len(values), nulls, valid, _ends(map(len, each), field), encoded)


def _bytes(field, values, valid, nulls, into):
    if nulls:
        values = [b"" if value is None else value for value in values]
    try:
        into.node(len(values), nulls, valid, _ends(map(len, values), field), b"".join(values))
    except TypeError:
        raise _wrong(field, values, lambda value: isinstance(value, (bytes, bytearray, memoryview)), "bytes") from None


def _flat(field, values, into, what, is_one=lambda value: isinstance(value, (list, tuple, Column, array, memoryview))):
    """The items of lists as an array; errors name the row whose list it is."""
    if not all(value is None or is_one(value) for value in values):
        raise _wrong(field, values, is_one, what)
    lists = [() if value is None else value for value in values]
    try:
        build(field.children[0].named(f"{field.name}[…]"), list(chain.from_iterable(lists)), into)
    except WrongValue as wrong:
        ends = accumulate(map(len, lists))
        raise WrongValue(next(row for row, end in enumerate(ends) if wrong.row < end), str(wrong)) from None
    return lists


def _list(field, values, valid, nulls, into):
    inner = Built()
    lists = _flat(field, values, inner, "a list")
    into.node(len(values), nulls, valid, _ends(map(len, lists), field))
    into.nodes += inner.nodes
    into.buffers += inner.buffers


def _fixed_list(field, values, valid, nulls, into):
    width = int(field.format[3:])
    inner = Built()
    full = [[None] * width if value is None else value for value in values]
    item = field.children[0]
    if nulls and not item.nullable:
        raise WrongValue(values.index(None), f"`{field.name}` is None, and what is in it may not be")
    for row, value in enumerate(full):
        if not hasattr(value, "__len__") or len(value) != width:
            raise WrongValue(row, f"`{field.name}` is to be a list of {width}, and is {_shown(value)}")
    _flat(field, full, inner, f"a list of {width}")
    into.node(len(values), nulls, valid)
    into.nodes += inner.nodes
    into.buffers += inner.buffers


def _struct(field, values, valid, nulls, into):
    into.node(len(values), nulls, valid)
    names = [child.name for child in field.children]
    members = [[] for _ in names]
    for row, value in enumerate(values):
        for member, name, child in zip(members, names, field.children):
            if value is None:
                member.append(None if child.nullable else ZERO.get(child.format[:1]))
            elif isinstance(value, dict):
                member.append(value.get(name))
            elif hasattr(value, name):
                member.append(getattr(value, name))
            else:
                raise WrongValue(row, f"`{field.name}` is to have `{name}`, and is {_shown(value)}")
    for child, member in zip(field.children, members):
        build(child.named(f"{field.name}.{child.name}"), member, into)


ZERO = {"u": "", "z": b"", "b": False, "f": 0.0, "g": 0.0} | dict.fromkeys("csilCSIL", 0)


def _map(field, values, valid, nulls, into):
    is_one = lambda value: isinstance(value, dict)
    if not all(value is None or is_one(value) for value in values):
        raise _wrong(field, values, is_one, "a dict")
    dicts = [{} if value is None else value for value in values]
    entries = field.children[0]
    into.node(len(values), nulls, valid, _ends(map(len, dicts), field))
    into.node(sum(map(len, dicts)), 0, b"")
    for child, items in zip(entries.children, ([k for d in dicts for k in d], [v for d in dicts for v in d.values()])):
        build(child.named(f"{field.name}[…]"), items, into)


def _fixed_bytes(field, values, valid, nulls, into):
    width = int(field.format[2:])
    full = [bytes(width) if value is None else value.bytes if isinstance(value, uuid.UUID) else value for value in values]
    is_one = lambda value: isinstance(value, (bytes, bytearray)) and len(value) == width
    if not all(map(is_one, full)):
        raise _wrong(field, full, is_one, f"{width} bytes")
    into.node(len(values), nulls, valid, b"".join(full))


def _decimal(field, values, valid, nulls, into):
    precision, scale, *bits = map(int, field.format[2:].split(","))
    width = (bits[0] if bits else 128) // 8

    def whole(value):
        number = decimal.Decimal(value).scaleb(scale, decimal.Context(prec=precision + 80))
        unscaled = int(number)
        if unscaled != number or abs(unscaled) >= 10**precision:
            raise ValueError(value)
        return unscaled.to_bytes(width, "little", signed=True)

    def is_one(value):
        try:
            return whole(value) is not None
        except (ValueError, TypeError, decimal.InvalidOperation, OverflowError):
            return False

    try:
        into.node(len(values), nulls, valid, b"".join(bytes(width) if value is None else whole(value) for value in values))
    except (ValueError, TypeError, decimal.InvalidOperation, OverflowError):
        raise _wrong(field, values, is_one, f"a number with {precision} digits, {scale} of them after the point") from None


def _null(field, values, valid, nulls, into):
    if nulls != len(values):
        raise _wrong(field, values, lambda value: False, "None")
    into.node(len(values), len(values))


WRITERS = {
    "n": _null, "b": _booleans, "e": _halves, "u": _text, "U": _text, "z": _bytes, "Z": _bytes, "w:": _fixed_bytes, "d:": _decimal,
    "+l": _list, "+L": _list, "+w": _fixed_list, "+s": _struct, "+m": _map,
}
