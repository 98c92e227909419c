"""Three operators, as `../rust` and `../js` have them: what comes out is the same."""

import csv
import io
import json
import re

from dflow import arrow, component
from dflow.operator import Description, Failure, Opened, Operator, Port


class Urls(Operator):
    """One row for each URL of the rows of a CSV file whose URLs contain a word."""

    description = Description(
        "urls", "expand", "the URLs of those rows of a CSV file whose URLs contain a word", rejects_rows=True,
        ports=[Port.utf8("content", "a CSV file with a header")],
        settings={
            "type": "object", "required": ["contains"], "additionalProperties": False,
            "properties": {
                "column": {"type": "string", "description": "The column that holds URLs, with white space between them."},
                "contains": {"type": "string", "description": "Rows whose URLs contain this word are kept."},
            },
        },
    )

    def open(self, settings, columns):
        self.column, self.contains = settings.get("column", "urls"), settings["contains"]
        return Opened("expand", [arrow.of("url", "utf8", nullable=False), arrow.of("row", "int64", nullable=False)])

    def process(self, columns, emit):
        urls, rows, parents = [], [], []
        for file, content in enumerate(columns[0]):
            if content is None:
                continue
            try:
                for row, url in self.urls(content):
                    urls.append(url)
                    rows.append(row)
                    parents.append(file)
            except LookupError as error:
                emit.error(file, "no-column", error.args[0])
            except csv.Error as error:
                emit.error(file, "bad-csv", str(error))
        emit.rows_of([urls, rows], parents)

    def urls(self, content):
        records = filter(None, csv.reader(io.StringIO(content, newline="")))
        header = next(records, [])
        if self.column not in header:
            raise LookupError(f"there is no column `{self.column}`; there is {', '.join(f'`{name}`' for name in header)}")
        place = header.index(self.column)
        found = []
        for row, record in enumerate(records, 1):
            cell = record[place] if place < len(record) else ""
            if self.contains in cell:
                found += [(row, url) for url in cell.split()]
        return found


TYPES = {
    "string": ("utf8", "a string", lambda value: isinstance(value, str)),
    "integer": ("int64", "an integer", lambda value: is_number(value) and value == int(value)),
    "number": ("float64", "a number", lambda value: is_number(value)),
    "boolean": ("bool", "true or false", lambda value: isinstance(value, bool)),
}
MAKES = {"integer": int, "number": float}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown(number):
    return str(int(number)) if number == int(number) else str(number)


class Validate(Operator):
    """The fields of JSON objects that are what they must be, as columns."""

    description = Description(
        "validate", "map", "the fields of JSON objects, as columns; an object that isn't what it must be fails, with all that is wrong", rejects_rows=True,
        ports=[Port.utf8("json", "a JSON object")],
        settings={"type": "object", "required": ["fields"], "additionalProperties": False, "properties": {"fields": {"type": "object", "description": "Its fields, which become columns."}}},
    )

    def open(self, settings, columns):
        self.fields = settings["fields"]
        unknown = [rule["type"] for rule in self.fields.values() if rule.get("type") not in TYPES]
        if unknown:
            raise Failure("settings", f"there is no type `{unknown[0]}`; there is {', '.join(TYPES)}")
        return Opened("map", [arrow.of(name, TYPES[rule["type"]][0]) for name, rule in self.fields.items()])

    def process(self, columns, emit):
        good = []
        for row, text in enumerate(columns[0]):
            try:
                value = json.loads(text or "")
            except ValueError:
                value = None
            if not isinstance(value, dict):
                emit.error(row, "not-json", "it isn't a JSON object")
            elif problems := self.problems(value):
                emit.error(row, "invalid", "; ".join(problems))
            else:
                good.append(value)
        made = []
        for name, rule in self.fields.items():
            make = MAKES.get(rule["type"], lambda value: value)
            made.append([None if (value := each.get(name)) is None else make(value) for each in good])
        emit.map(made)

    def problems(self, value):
        found = []
        for name, rule in self.fields.items():
            member = value.get(name)
            if member is None:
                found += [f"`{name}` is missing"] if rule.get("required", True) else []
                continue
            _, what, fits = TYPES[rule["type"]]
            if not fits(member):
                found.append(f"`{name}` is to be {what}")
                continue
            if is_number(member):
                if "ge" in rule and member < rule["ge"]:
                    found.append(f"`{name}` is to be at least {shown(rule['ge'])}")
                if "le" in rule and member > rule["le"]:
                    found.append(f"`{name}` is to be at most {shown(rule['le'])}")
            if isinstance(member, str):
                if len(member) < rule.get("min_length", 0):
                    found.append(f"`{name}` is to have at least {rule['min_length']} characters")
                if "one_of" in rule and member not in rule["one_of"]:
                    found.append(f"`{name}` is to be one of {', '.join(rule['one_of'])}")
        return found


class Sentences(Operator):
    """One row for each sentence: it ends at `.`, `!` or `?` before white space, or with the text."""

    description = Description("sentences", "expand", "the sentences of texts, and where they are", ports=[Port.utf8("text", "a text")])
    SENTENCE = re.compile(r"(?=[^ \t\n\r\v\f])(?:.*?[.!?](?=[ \t\n\r\v\f])|.*[^ \t\n\r\v\f])", re.DOTALL)

    def open(self, settings, columns):
        places = [arrow.of(name, "int64", nullable=False) for name in ("start", "end")]
        return Opened("expand", [arrow.of("sentence", "utf8", nullable=False), *places])

    def process(self, columns, emit):
        sentences, starts, ends, parents = [], [], [], []
        for row, text in enumerate(columns[0]):
            last = place = 0
            for found in self.SENTENCE.finditer(text or ""):
                # Places are in bytes of UTF-8, as everywhere in dflow.
                place += len(text[last : found.start()].encode())
                last = found.end()
                starts.append(place)
                place += len(found.group().encode())
                ends.append(place)
                sentences.append(found.group())
                parents.append(row)
        emit.rows_of([sentences, starts, ends], parents)


Operators = component.exports_of("words", "0.1.0", "URLs in CSV files, a validator, sentences", [Urls, Validate, Sentences])
