#!/usr/bin/env python3
"""A web server that serves a folder well or badly, for as long as a command runs.

usage: tests/servers/web.py FOLDER COMMAND…    runs COMMAND with SITE=http://127.0.0.1:PORT, and ends with its exit code
       tests/servers/web.py FOLDER             prints the site's URL, and serves until its stdin ends

A URL is SITE/MODE/PATH, where PATH is a file's in FOLDER and MODE says how it is served:

    good          with ranges, ETag, Last-Modified and If-Match
    noranges      the whole file, whatever was asked for
    nohead        as good, but for HEAD
    chunked       without a length, in chunks, no ranges, no HEAD
    dav           as good, and lists its files (WebDAV)
    403 404 …     with this status
    flaky         500 twice for each file, then good
    403-twice     403 twice for each file, then good
    short         half of the file, then the connection is closed
    broken-once   as short for the first request of a file, then good
    broken-plain  the same without ETag and ranges
    broken-run    the same for the first four requests
    broken-whole  as broken-once without ranges
    broken-other  the same without ETag and ranges, and then it is another file
    wrong-range   parts, but always from the start of the file
    long-range    parts that are the whole file
    changing      another ETag at each request, and another content
    redirect      to good
    loop          to itself, for ever
    slow          half of the file, and then nothing
    echo          what was asked: method, path, headers and body, as JSON
    welcome       to those alone that have the header `X-Key: Bearer open sesame`
    to            to the URL that PATH is; with 307 and not 302 as `to-again`
    v1            a model, as OpenAI's are: it answers what it was asked, and gives the length of a text as its vector
"""

import collections
import email.utils
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

FOLDER = Path(sys.argv[1]).resolve()
SEEN = collections.Counter()
LOCK = threading.Lock()


def seen(key):
    """How often this was called for a key before."""
    with LOCK:
        SEEN[key] += 1
        return SEEN[key] - 1


def modelled(asked):
    """What a model answers, in OpenAI's dialect."""
    if "input" in asked:
        return {"data": [{"index": place, "embedding": [len(text), 0.5]} for place, text in enumerate(asked["input"])]}
    said = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return {"choices": [{"message": {"content": said}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b"", length=None):
        """One answer; `length` is what is said of it, when that isn't the body's."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()
            if length not in (None, len(body)):
                self.close_connection = True

    def asked(self, size):
        """The range that is asked for: first byte and end."""
        kind, _, text = (self.headers.get("Range") or "").partition("=")
        if kind != "bytes":
            return None
        first, _, last = text.partition("-")
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1) if last else size

    def serve(self):
        # What was sent is read in any case: the next request follows it.
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode, _, path = urllib.parse.unquote(self.path).lstrip("/").partition("/")
        if mode.isdigit():
            return self.answer(int(mode), {}, b"a page with secrets in it")
        if mode == "redirect":
            return self.answer(302, {"Location": "/good/" + urllib.parse.quote(path)})
        if mode == "echo":
            said = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": sent.decode()}
            return self.answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())
        if mode == "welcome":
            return self.answer(200 if self.headers.get("X-Key") == "Bearer open sesame" else 401, {}, b"come in")
        if mode == "v1":
            return self.answer(200, {"Content-Type": "application/json"}, json.dumps(modelled(json.loads(sent))).encode())
        if mode in ("to", "to-again"):
            return self.answer(302 if mode == "to" else 307, {"Location": path})
        if mode == "loop":
            return self.answer(302, {"Location": self.path})
        if mode == "403-twice" and seen(self.path) < 2:
            return self.answer(403, {})
        if mode == "flaky" and self.command == "GET" and seen(self.path) < 2:
            return self.answer(500, {}, b"try again")
        file = (FOLDER / path).resolve()
        if not file.is_relative_to(FOLDER) or not file.is_file():
            return self.answer(404, {})
        body = file.read_bytes()
        if mode == "changing":
            body += str(seen(self.path)).encode()
        etag = f'"{hash(body) & 0xFFFFFFFF:x}"'
        headers = {"ETag": etag, "Last-Modified": email.utils.formatdate(1_700_000_000, usegmt=True)}
        half = body[: len(body) // 2]
        broken = mode.startswith("broken-")
        if mode in ("short", "broken-plain", "broken-run", "broken-other") and self.command == "GET":
            del headers["ETag"]
        if mode == "changing":
            return self.answer(200, headers, body)
        if mode in ("nohead", "chunked") and self.command == "HEAD":
            return self.answer(405, {})
        if mode == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(0, len(body), 1000):
                piece = body[i : i + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            return self.wfile.write(b"0\r\n\r\n")
        if self.headers.get("If-Match") not in (None, etag):
            return self.answer(412, {})
        if self.command == "GET":
            if mode == "short" or (broken and seen(self.path) < (4 if mode == "broken-run" else 1)):
                return self.answer(200, headers, half, len(body))
            if mode == "broken-other":
                body = body.swapcase()
            if mode == "slow":
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(half)
                self.wfile.flush()
                return time.sleep(3600)
        whole = mode in ("noranges", "slow", "short") or (broken and mode != "broken-once")
        asked = None if whole else self.asked(len(body))
        if asked is None:
            return self.answer(200, headers, body)
        first, end = asked
        if mode == "wrong-range":
            first, end = 0, end - first
        if mode == "long-range":
            first, end = 0, len(body)
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        self.answer(206, headers, body[first:end])

    do_GET = do_HEAD = do_POST = serve

    def do_PROPFIND(self):
        mode, _, path = urllib.parse.unquote(self.path).lstrip("/").partition("/")
        if mode != "dav":
            return self.answer(501, {}, b"<html>no such method</html>")
        items = []
        for file in sorted([FOLDER / path, *(FOLDER / path).rglob("*")]):
            href = urllib.parse.quote(f"/dav/{file.relative_to(FOLDER)}")
            kind = "<D:collection/>" if file.is_dir() else ""
            length = "" if file.is_dir() else f"<D:getcontentlength>{file.stat().st_size}</D:getcontentlength>"
            date = email.utils.formatdate(1_700_000_000, usegmt=True)
            items.append(
                f"<D:response><D:href>{href}</D:href><D:propstat><D:prop><D:resourcetype>{kind}</D:resourcetype>{length}"
                f"<D:getlastmodified>{date}</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
            )
        body = f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{"".join(items)}</D:multistatus>'.encode()
        self.answer(207, {"Content-Type": "application/xml"}, body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # clients that go away


def main():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    if command := sys.argv[2:]:
        sys.exit(subprocess.run(command, env=os.environ | {"SITE": site}).returncode)
    print(site, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
