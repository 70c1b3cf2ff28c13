"""Run the CNCF Distribution registry, ``docker-registry``, for a test."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sysconfig
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Self

from wherry.testing._files import FileServer
from wherry.testing._pushing import Pusher
from wherry.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from wherry.testing.images import BuiltImage, BuiltIndex
    from wherry.testing.tokens import TokenServer

__all__ = ["Distribution", "find_binary"]

_LIFETIME = 1800  # seconds after which the registry is stopped in any case
_START = 15.0  # seconds that the registry may take to answer
_ACCESS = re.compile(r'^\S+ - \S+ \[[^]]*\] "(\S+) (\S+) HTTP/[\d.]+" (\d{3}) ', re.MULTILINE)


def find_binary(name: str) -> str | None:
    """Return the path of a program.

    Args:
        name: The name of the program, looked up in ``PATH``, ``/usr/bin``, ``/usr/sbin`` and
            where this Python's packages install programs.

    Returns:
        The path, or None if the program is not installed.
    """
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin", scripts])
    return shutil.which(name, path=path)


class Distribution:
    """A ``docker-registry`` on a free port of 127.0.0.1; use it as a context manager.

    Entering raises `FileNotFoundError` if the program is not installed, and
    `RuntimeError` if it does not start.

    Args:
        root: A directory for the files of the registry.
        htpasswd: Passwords by user name, for basic authentication.
        tokens: A running token server, for bearer authentication.
        tls: Files of the certificate and its key.
        schema1: Whether the registry accepts signed schema1 manifests.
        redirect: Whether the registry redirects clients to ``storage`` for blobs.
        deletes: Whether the registry deletes; Distribution's own default is not to.
        binary: The path of the program; by default `find_binary` looks for it.

    Attributes:
        root: The directory of the files.
        port: The port on 127.0.0.1.
        log_file: The log of the registry.
        storage: The file server for blobs, if there are redirects.
    """

    def __init__(
        self,
        root: Path,
        *,
        htpasswd: Mapping[str, str] | None = None,
        tokens: TokenServer | None = None,
        tls: tuple[Path, Path] | None = None,
        schema1: bool = False,
        redirect: bool = False,
        deletes: bool = True,
        binary: str | None = None,
    ) -> None:
        self.root = root
        self.port = 0
        self.log_file = root / "registry.log"
        self.storage = FileServer(root / "data") if redirect else None
        self._binary = binary or find_binary("docker-registry")
        self._htpasswd = htpasswd
        self._tokens = tokens
        self._tls = tls
        self._schema1 = schema1
        self._deletes = deletes
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def host(self) -> str:
        """Address and port, as they appear in a reference: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of the registry, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        if self._binary is None:
            raise FileNotFoundError("docker-registry is not installed")
        (self.root / "data").mkdir(parents=True, exist_ok=True)
        self._write_htpasswd()
        if self.storage is not None:
            self.storage.start()
        atexit.register(self.stop)
        for _ in range(5):
            if self._start(self._binary):
                return self
        self.stop()
        raise RuntimeError(f"docker-registry does not start: {self._log()[-2000:]}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the registry. Idempotent."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # The process group has the registry and `timeout` alone, see start_new_session.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.storage is not None:
            self.storage.close()

    def requests(self) -> list[tuple[str, str, int]]:
        """Return the requests since the last `clear`, in the order of their responses.

        The registry writes its access log when a response is complete. This method waits until
        the log has not grown for 50 ms.

        Returns:
            Method, path with query, and status of each request.
        """
        log, before = self._log(), None
        while log != before:
            time.sleep(0.05)
            log, before = self._log(), log
        found = _ACCESS.findall(log[self._log_start :])
        return [(method, path, int(status)) for method, path, status in found]

    def clear(self) -> None:
        """Ignore the requests so far in `requests`."""
        self.requests()
        self._log_start = len(self._log())

    def push(
        self,
        name: str,
        image: BuiltImage | BuiltIndex,
        *tags: str,
        credentials: tuple[str, str] | None = None,
    ) -> str:
        """Upload an image, or an index with its images.

        Args:
            name: The repository.
            image: The image or index.
            tags: Tags for its root; without any it is pushed by digest.
            credentials: User and password; by default the first user of ``htpasswd``, or a token
                from the token server.

        Returns:
            The digest of the root.

        Raises:
            RuntimeError: The registry refuses an upload.
        """
        return self.pusher(name, credentials).push_image(image, *tags)

    def pusher(self, name: str, credentials: tuple[str, str] | None = None) -> Pusher:
        """Return an object that uploads single blobs and documents.

        Args:
            name: The repository.
            credentials: User and password, as in `push`.
        """
        if credentials is None and self._htpasswd:
            credentials = next(iter(self._htpasswd.items()))
        token = None
        if self._tokens is not None:
            token = self._tokens.token_for(f"repository:{name}:pull,push,delete")
        return Pusher(self._connection, name, credentials=credentials, token=token)

    def _connection(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection("127.0.0.1", self.port, timeout=60)
        # Tests of the client check certificates; this connection only has to reach the registry.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        return HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def _start(self, binary: str) -> bool:
        """Start on a free port; return False if the registry ended, as when the port is taken."""
        self.port = free_port()
        config = self.root / "config.yml"
        config.write_text(json.dumps(self._config(), indent=1))  # JSON is YAML too
        command = [binary, "serve", str(config)]
        watch = find_binary("timeout")
        if watch is not None:
            command = [watch, "--kill-after=5", str(_LIFETIME), *command]
        before = len(self._log())
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", "/usr/bin")},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START
        while self._process.poll() is None and time.monotonic() < deadline:
            # Another server may have taken the port, so a response alone proves nothing.
            if f"listening on {self.host}" in self._log()[before:] and self._answers():
                self.clear()
                return True
            time.sleep(0.02)
        return False

    def _answers(self) -> bool:
        connection = self._connection()
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401}
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _write_htpasswd(self) -> None:
        if self._htpasswd:
            import bcrypt

            lines = []
            for user, password in self._htpasswd.items():
                hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
                lines.append(f"{user}:{hashed}\n")
            (self.root / "htpasswd").write_text("".join(lines))

    def _config(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": self.host, "secret": "not a secret"}
        if self._tls is not None:
            http["tls"] = {"certificate": str(self._tls[0]), "key": str(self._tls[1])}
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.root / "data")},
                "delete": {"enabled": self._deletes},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
            "compatibility": {"schema1": {"enabled": self._schema1}},
        }
        if self.storage is not None:
            redirect = {"name": "redirect", "options": {"baseurl": self.storage.url}}
            config["middleware"] = {"storage": [redirect]}
        if self._htpasswd:
            path = str(self.root / "htpasswd")
            config["auth"] = {"htpasswd": {"realm": "test", "path": path}}
        if self._tokens is not None:
            config["auth"] = {
                "token": {
                    "realm": self._tokens.realm,
                    "service": self._tokens.service,
                    "issuer": self._tokens.issuer,
                    "rootcertbundle": str(self._tokens.certificate_file),
                }
            }
        return config
