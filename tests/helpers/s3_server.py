"""A SeaweedFS server with the S3 protocol, which all processes of a test run share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.testing import find_binary, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET = "layouts"
KEYS = ("wherry", "secret-of-the-tests")
READER = ("reader", "secret-of-the-reader")
_DIRECTORY = "WHERRYS_S3_TESTS"  # the variable that tells worker processes the directory
_LIFETIME = 1800  # seconds after which the server ends in any case
_START = 60.0  # seconds that it may take; it elects itself leader in ten
_PORTS = [
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc"),
    *("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
]
_ACTIONS = ["Admin", "Read", "Write", "List"]


def s3_environment(host: str, keys: tuple[str, str] = KEYS) -> Mapping[str, str]:
    """Return the variables for a server at ``host:port``."""
    return {
        "AWS_ENDPOINT_URL": f"http://{host}",
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_REGION": "us-east-1",
    }


def prepare_s3() -> None:
    """Choose the directory of the server; call this before there are worker processes."""
    os.environ[_DIRECTORY] = tempfile.mkdtemp(prefix="wherry-s3-")


def shared_s3() -> int:
    """Start the server, or find that of another process; return its port."""
    directory = Path(os.environ[_DIRECTORY])
    state = directory / "state.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not state.exists():
            state.write_text(json.dumps(_start(directory)))
    _, ports = json.loads(state.read_text())
    return int(ports[0])


def stop_s3() -> None:
    """Stop the server, if one of the processes has started it."""
    directory = Path(os.environ.pop(_DIRECTORY))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid, ports = json.loads((directory / "state.json").read_text())
        for socket in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - made by the server
            if int(socket.stem.rpartition("-")[2]) in ports:
                socket.unlink()
        os.killpg(pid, signal.SIGKILL)  # `timeout` and the server, see start_new_session
    shutil.rmtree(directory, ignore_errors=True)


def _start(directory: Path) -> tuple[int, list[int]]:
    """Start the server; return its process id and its ports, that of S3 first."""
    binary = find_binary("weed")
    assert binary is not None
    keys = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "actions": actions,
        }
        for (name, secret), actions in ((KEYS, _ACTIONS), (READER, ["Read", "List"]))
    ]
    (directory / "keys.json").write_text(json.dumps({"identities": keys}))
    (directory / "data").mkdir()
    ports = [free_port() for _ in _PORTS]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["timeout", "-k", "5", str(_LIFETIME), binary, "server", *_options(directory, ports)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(directory)},
            start_new_session=True,
        )
    _wait(ports[0], directory / "log")
    return process.pid, ports


def _options(directory: Path, ports: list[int]) -> list[str]:
    return [
        f"-dir={directory / 'data'}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)),
        f"-s3.config={directory / 'keys.json'}",
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-master.electionTimeout=1s"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=100"),
    ]


def _wait(port: int, log: Path) -> None:
    """Wait until the server has made the bucket, which the first object in it does."""
    end = time.monotonic() + _START
    while not _put(port):
        if time.monotonic() > end:
            raise RuntimeError(f"weed does not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)


def _put(port: int) -> bool:
    import obstore

    with contextlib.suppress(OSError, HTTPException):
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/")  # obstore is slower to tell that nothing listens
        connection.getresponse().read()
        with contextlib.suppress(obstore.exceptions.BaseError):
            obstore.put(bucket(port), "ready", b"yes")
            return True
    return False


def bucket(port: int) -> Any:
    """Return the bucket as obstore's functions take it."""
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=KEYS[0],
        secret_access_key=KEYS[1],
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
