"""Requests to servers that the pipeline grants: the contract's `http`.

    answers = http.send([http.Request.get(url) for url in columns[0]])

For operators of the profile `open` whose description wants `http`. A component that imports this module is refused without such a grant. In plain
Python a test says what is answered (`testing.answering`).
"""

from dataclasses import dataclass, field

from .answers import Unanswered, told, tried

try:
    from wit_world.imports import http as host
except ImportError:
    host = None


@dataclass
class Request:
    """What is asked of a server. `url` is an absolute one of an origin that the pipeline grants; what the pipeline keeps secret is added by the host."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def get(cls, url, headers=()):
        """A `GET` of a URL."""
        return cls("GET", url, list(headers))

    @classmethod
    def post(cls, url, body, headers=()):
        """A `POST` of bytes to a URL."""
        return cls("POST", url, list(headers), body)


@dataclass
class Response:
    """What a server answered, whatever its status. Names of headers are in lower case; the body is as it came, encodings included."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def send(requests):
    """Sends requests side by side, and gives a `Response` or an `Unanswered` for each, in their order: those of a whole batch are best sent at once.

    Nothing is tried again.
    """
    if host is None:
        return tried(answer, requests)
    return told(host.send([host.Request(each.method, each.url, list(each.headers), each.body) for each in requests]))


def answer(request):
    """What stands in for servers in plain Python."""
    raise Unanswered("neither a host nor a test answers requests here")
