import os
import sys

from dflow import command

left = int(sys.argv[1])


@command
def answer(table):
    global left
    left -= 1
    if left < 0:
        os._exit(0)
    return {"process": [os.getpid()] * table.num_rows}
