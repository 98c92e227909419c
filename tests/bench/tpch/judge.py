"""Holds answers beside one: `judge.py ORDERED THAT OTHER…`, folders of Parquet files; ORDERED is 1 when the order of rows counts."""

import json
import sys

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

# Engines differ in how many digits an average of decimals has, and in the order in which floating point is added.
NEAR, DIGITS = 1e-6, 1e-5


def columns(folder, ordered):
    table = pyarrow.parquet.read_table(folder)
    found = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        kind = column.type
        if pyarrow.types.is_decimal(kind):
            column = column.cast(pyarrow.float64())
        elif pyarrow.types.is_date(kind) or pyarrow.types.is_timestamp(kind):
            column = column.cast(pyarrow.date32()).cast(pyarrow.int32())
        elif not pyarrow.types.is_integer(kind) and not pyarrow.types.is_floating(kind):
            column = column.cast(pyarrow.string())
        found[name] = column.to_numpy(zero_copy_only=False)
    if not ordered:
        # The first column is the groups' key.
        order = numpy.argsort(next(iter(found.values())), kind="stable")
        found = {name: column[order] for name, column in found.items()}
    return found


def differences(those, these):
    if list(those) != list(these):
        return f"columns {list(these)}"
    for name, that in those.items():
        this = these[name]
        if len(this) != len(that):
            return f"{len(this)} rows"
        same = numpy.isclose(this.astype(float), that.astype(float), rtol=NEAR, atol=DIGITS) if that.dtype.kind in "iuf" else this == that
        if not same.all():
            at = int(numpy.argmin(same))
            return f"row {at}: {name} is {this[at]}, not {that[at]}"
    return ""


ordered, that, *others = sys.argv[1:]
those = columns(that, ordered == "1")
print(json.dumps({"rows": len(next(iter(those.values()))), "differ": [differences(those, columns(other, ordered == "1")) for other in others]}))
