from dflow import command


@command
def mark(table):
    return {"mark": ["*" * int(score * 2) for score in table["score"].to_pylist()]}
