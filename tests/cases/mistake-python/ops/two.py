def f(text) -> str:
    return text


def g(text) -> str:
    return text
