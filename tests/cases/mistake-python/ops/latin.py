def f(text) -> str:
    return "grün"
