"""Files that are read in parts as they are needed: the contract's `blobs`.

    with blobs.open(columns, 0, row) as file:
        names = zipfile.ZipFile(file).namelist()

For operators that want `blobs` and have a port of files (`Port.file`): its column holds their sizes. In plain Python the files are the bytes that
`testing.run` was given for the port.
"""

import io
from dataclasses import dataclass

from .answers import Unanswered, told, tried

try:
    from wit_world.imports import blobs as host
except ImportError:
    host = None

# Bytes that are read at once.
BLOCK = 1 << 20


@dataclass
class Range:
    """A part of a file of the batch in work: the position of the port's column, the row, and where it begins and how many bytes it has."""

    port: int
    row: int
    offset: int
    length: int


def read(ranges):
    """Reads parts of files side by side, and gives the bytes of each, or an `Unanswered`, in their order. Past the end of a file there are none."""
    return tried(part, ranges) if host is None else told(host.read([host.Range(each.port, each.row, each.offset, each.length) for each in ranges]))


def open(columns, port, row):
    """A row's file as a binary file object that is read in blocks of 1 MiB; None when the row has none. `port` is the position of the port's column."""
    size = columns[port][row]
    return None if size is None else io.BufferedReader(File(port, row, size), BLOCK)


class File(io.RawIOBase):
    """A row's file, without a buffer."""

    def __init__(self, port, row, size):
        self.port, self.row, self.size, self._at = port, row, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise OSError("before the beginning of the file")
        self._at = at
        return at

    def readinto(self, into):
        length = max(min(len(into), BLOCK, self.size - self._at), 0)
        if not length:
            return 0
        [found] = read([Range(self.port, self.row, self._at, length)])
        if isinstance(found, Unanswered):
            raise OSError(str(found))
        if len(found) < length:
            raise OSError("the file is shorter than it was")
        into[:length] = found
        self._at += length
        return length

    def readall(self):
        # Python's own asks for a few KiB at a time.
        return b"".join(iter(lambda: self.read(BLOCK), b""))


def part(range):
    """What stands in for files in plain Python."""
    raise Unanswered("neither a host nor a test gives files here")
