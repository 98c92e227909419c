from dflow import command


@command
def add(table, settings):
    return {"sum": [n + settings["more"] for n in table["n"].to_pylist()]}
