TABLE = open("/etc/passwd").read()


def f(text) -> str:
    return text
