from dflow import command


@command
def all_lines(table):
    return {"lines": " ".join(table["line"].to_pylist())}
