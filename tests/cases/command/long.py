from dflow import command


@command
def long(table):
    assert table.column_names == ["text", "weight", "length", "has_id"], table.column_names
    return [length > 100 for length in table["length"].to_pylist()]
