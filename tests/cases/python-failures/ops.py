import os
import sys


def f(n: int) -> str:
    if n == 1:
        return 1
    if n == 2:
        return os.system("ls")
    if n == 3:
        return open("/etc/passwd").read()
    if n == 4:
        return f(n)
    if n == 5:
        return "x" * (1 << 30)
    if n == 6:
        while True:
            pass
    if n == 7:
        for _ in range(1 << 22):
            print("x" * 1024)
    if n == 8:
        sys.exit(3)
    if n == 9:
        raise KeyboardInterrupt
    if n == 10:
        raise ValueError("words with \x1b[31mcolour")
    return str(n)


def many(n: int):
    if n == 1:
        while True:
            yield "x"
    yield str(n)
