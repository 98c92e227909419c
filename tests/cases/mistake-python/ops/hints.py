def f(text, other, *, least) -> complex:
    return text
