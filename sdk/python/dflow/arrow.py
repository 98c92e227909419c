"""Fields of Arrow schemas: names of types as pipelines write them, and format strings of Arrow's C data interface as the contract has them."""

from dataclasses import dataclass, field, replace

# Types without parameters.
FORMATS = {
    "null": "n", "bool": "b", "int8": "c", "int16": "s", "int32": "i", "int64": "l", "uint8": "C", "uint16": "S", "uint32": "I", "uint64": "L",
    "float16": "e", "float32": "f", "float64": "g", "utf8": "u", "binary": "z", "large_utf8": "U", "large_binary": "Z", "date32": "tdD", "date64": "tdm",
}
NAMES = {format: name for name, format in FORMATS.items()}
# How `array`, `memoryview` and `struct` call the values of a format.
CODES = {"c": "b", "s": "h", "i": "i", "l": "q", "C": "B", "S": "H", "I": "I", "L": "Q", "f": "f", "g": "d", "tdD": "i", "tdm": "q"}
# Units in a second.
UNITS = {"s": 1, "m": 1_000, "u": 1_000_000, "n": 1_000_000_000}


@dataclass(frozen=True)
class Field:
    """A column or a descendant of one: its name, its type as a format string, and its children."""

    name: str
    format: str
    nullable: bool = True
    children: tuple["Field", ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    ordered: bool = False
    # Of a dictionary-encoded field, whose one child is the dictionary's values: the format is that of its keys.
    dictionary: bool = field(default=False, compare=False)

    def named(self, name):
        """The same under another name."""
        return replace(self, name=name)

    @property
    def type(self):
        """The type's name."""
        if self.dictionary:
            return f"dictionary<{self.children[0].type}>"
        if self.format in NAMES:
            return NAMES[self.format]
        if self.format in ("+l", "+L"):
            return f"list<{self.children[0].type}>"
        if self.format.startswith("+w:"):
            return f"fixed_size_list<{self.children[0].type}, {self.format[3:]}>"
        if self.format == "+s":
            return "struct<" + ", ".join(f"{child.name}: {child.type}" for child in self.children) + ">"
        if self.format == "+m":
            key, value = self.children[0].children
            return f"map<{key.type}, {value.type}>"
        return self.format

    @property
    def code(self):
        """How `array` and `memoryview` call its values, if it is a column of numbers, dates or times."""
        if self.format[:2] in ("ts", "tD", "tt"):
            return "i" if self.format in ("tts", "ttm") else "q"
        return CODES.get(self.format)


def of(name, type, children=(), nullable=True):
    """A field of a type by its name; of lists and structs by its format (`+l`, `+s`) and its children."""
    return Field(name, FORMATS.get(type, type), nullable, tuple(children))


def list_of(name, item, nullable=True):
    """A field of lists of a field."""
    return Field(name, "+l", nullable, (item.named("item"),))


def read(fields):
    """Fields, each with its children, of the contract's list in pre-order."""
    fields = iter(fields)

    def one(wire):
        children = tuple(one(next(fields)) for _ in range(wire.children))
        dictionary = wire.format in CODES and bool(children)
        return Field(wire.name, wire.format, wire.nullable, children, tuple(map(tuple, wire.metadata)), wire.ordered, dictionary)

    return [one(wire) for wire in fields]


def flat(fields):
    """The contract's list in pre-order: (name, format, nullable, ordered, children, metadata) of each field and its descendants."""
    for each in fields:
        yield each.name, each.format, each.nullable, each.ordered, len(each.children), list(each.metadata)
        yield from flat(each.children)
