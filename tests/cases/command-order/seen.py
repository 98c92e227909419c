from dflow import command


@command
def seen(table):
    lines = table["line"].to_pylist()
    return {"first": lines[0], "last": lines[-1], "lines": len(lines)}
