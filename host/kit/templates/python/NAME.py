"""Operators of the plugin `NAME`."""

from dflow import arrow, component
from dflow.operator import Description, Opened, Operator, Port


class Words(Operator):
    """Counts the words of a text."""

    description = Description(
        "words",
        "map",
        "how many words a text has",
        ports=[Port.utf8("text", "the text")],
        rejects_rows=True,
        settings={
            "type": "object",
            "additionalProperties": False,
            "properties": {"least": {"type": "integer", "minimum": 0, "default": 0, "description": "A text with fewer words is an error of its row."}},
        },
    )

    def open(self, settings, columns):
        self.least = settings.get("least", 0)
        return Opened("map", [arrow.of("words", "int64")])

    def process(self, columns, emit):
        counts = []
        for row, text in enumerate(columns[0]):
            words = None if text is None else len(text.split())
            if words is not None and words < self.least:
                emit.error(row, "too-few", f"{words} words, at least {self.least} are needed")
            else:
                counts.append(words)
        emit.map([counts])


Operators = component.exports_of("NAME", "0.1.0", "counts words", [Words])
