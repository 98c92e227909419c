from dflow import command


@command
def words(table):
    return [
        {"__parent__": place, "word": word, "letters": list(word)}
        for place, text in enumerate(table["text"].to_pylist())
        for word in text.split()
    ]
