"""The vectors of `tests/vectors/v1_images.json` against a real docker engine (20.10).

Runs by hand, as root: Debian's `docker.io` has to be installed. The engine gets a socket and
directories of its own and neither a bridge nor rules of a firewall.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dray.testing import tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.peer("dockerd"), pytest.mark.long]

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "v1_images.json").read_text()
)
LAYERS = [tar_layer({f"f{number}": b"x%d" % number}) for number in range(2)]


class Engine(http.client.HTTPConnection):
    """An engine behind a socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        self.request(method, path, body, {"Content-Type": "application/x-tar"})
        answer = self.getresponse()
        return answer.status, answer.read()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.getuid() != 0:
        pytest.skip("an engine runs as root")
    place = tmp_path_factory.mktemp("dockerd")
    sock = place / "sock"
    command = ["dockerd", "--bridge=none", "--iptables=false", "-s", "vfs", "-H", f"unix://{sock}"]
    command += ["--data-root", f"{place}/data", "--exec-root", f"{place}/exec"]
    command += ["--pidfile", f"{place}/pid"]
    with (place / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            for _ in range(150):
                if sock.exists():
                    break
                time.sleep(0.2)
            yield Engine(sock)
        finally:
            process.terminate()


def an_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def archive(name: str, texts: list[tuple[str, str]]) -> bytes:
    """Make what engines before 1.10 saved."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def add(path: str, data: bytes) -> None:
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

        for (v1_id, text), layer in zip(texts, LAYERS, strict=True):
            directory = tarfile.TarInfo(v1_id)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
            add(f"{v1_id}/VERSION", b"1.0")
            add(f"{v1_id}/json", text.encode())
            add(f"{v1_id}/layer.tar", layer)
        add("repositories", json.dumps({name: {"latest": texts[-1][0]}}).encode())
    return buffer.getvalue()


def test_the_engine_gives_the_ids_that_the_vectors_say(engine: Engine) -> None:
    for number, entry in enumerate(VECTORS["images"], 1):
        base = VECTORS["base"].replace("@ID", an_id(0))
        top = entry["v1"].replace("@ID", an_id(number)).replace("@PARENT", an_id(0))
        name = f"v{number}"
        body = archive(name, [(an_id(0), base), (an_id(number), top)])
        engine.ask("POST", "/images/load", body)
        status, answer = engine.ask("GET", f"/images/{name}/json")
        assert (json.loads(answer)["Id"] if status == 200 else None) == entry["id"], entry["v1"]
        if entry["id"] is None:
            continue
        _, saved = engine.ask("GET", f"/images/{name}/get")
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            member = tar.extractfile("manifest.json")
            assert member is not None
            (manifest,) = json.load(member)
        assert [path.split("/")[0] for path in manifest["Layers"]] == entry["v1_ids"]
