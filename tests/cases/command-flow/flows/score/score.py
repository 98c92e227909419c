from dflow import command


@command
def score(table):
    return {"score": [len(text) / 2 for text in table["text"].to_pylist()]}
