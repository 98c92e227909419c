from dflow import command


@command
def measure(table, settings):
    assert table.column_names == ["value", "id"], table.column_names
    rows = []
    for row in table.to_pylist():
        wrong = row["value"] == settings["bad"]
        rows.append({
            "length": None if wrong else len(row["value"]) + settings["offset"],
            "has_id": len(row["id"]) == 32,
            "__error__": f"`{row['value']}` is bad" if wrong else None,
        })
    return rows
