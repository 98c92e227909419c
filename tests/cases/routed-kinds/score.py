from dflow import command


@command
def score(table):
    return [
        {"score": len(row["name"]), "__error__": "no a in it" if "a" not in row["name"] else None}
        for row in table.to_pylist()
    ]
