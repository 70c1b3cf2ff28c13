"""Runs the real registry, Distribution's ``docker-registry``, for as long as a test needs it."""

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
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Self

from wherry.testing._files import FileServer
from wherry.testing._pushing import Pusher
from wherry.testing.ports import refused_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from wherry.testing.images import BuiltImage, BuiltIndex
    from wherry.testing.tokens import TokenServer

__all__ = ["Distribution", "find_binary"]

_LIFETIME = 1800  # seconds after which a forgotten registry ends by itself
_START = 15.0  # seconds that a registry may take to answer
_ACCESS = re.compile(r'^\S+ - \S+ \[[^]]*\] "(\S+) (\S+) HTTP/[\d.]+" (\d{3}) ', re.MULTILINE)


def find_binary(name: str) -> str | None:
    """Return the path of a program in PATH, /usr/bin or /usr/sbin; None where there is none."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin"])
    return shutil.which(name, path=path)


class Distribution:
    """A ``docker-registry`` on a free port of 127.0.0.1, its files under `root`; a context manager.

    `htpasswd` maps users to passwords for basic authentication, `tokens` is a running token
    server, `tls` is (certificate, key), `schema1` allows signed schema1 manifests, and `redirect`
    sends clients to `storage`, a server of its own, for blobs.  Deleting is allowed.
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
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def host(self) -> str:
        """Address and port, as in a reference: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The root of the server, without a slash at the end."""
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
        """Stop the registry; doing so twice is no error."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # A session of its own: the group is the registry and the watch over its lifetime.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.storage is not None:
            self.storage.close()

    def requests(self) -> list[tuple[str, str, int]]:
        """Return (method, path with query, status) of the answered requests, in that order.

        Read from the access log, which the registry writes when an answer is complete: this waits
        until the log has not grown for a moment.  Requests from before `clear` are left out.
        """
        log, before = self._log(), None
        while log != before:
            time.sleep(0.05)
            log, before = self._log(), log
        found = _ACCESS.findall(log[self._log_start :])
        return [(method, path, int(status)) for method, path, status in found]

    def clear(self) -> None:
        """Forget the requests so far."""
        self.requests()
        self._log_start = len(self._log())

    def push(
        self,
        name: str,
        image: BuiltImage | BuiltIndex,
        *tags: str,
        credentials: tuple[str, str] | None = None,
    ) -> str:
        """Upload an image, or an index with all that it lists, and return the root's digest.

        Without `credentials` the registry's own means are used: its first user, or a token.
        """
        return self.pusher(name, credentials).push_image(image, *tags)

    def pusher(self, name: str, credentials: tuple[str, str] | None = None) -> Pusher:
        """Return what uploads single blobs and documents to a repository."""
        if credentials is None and self._htpasswd:
            credentials = next(iter(self._htpasswd.items()))
        token = None
        if self._tokens is not None:
            token = self._tokens.token_for(f"repository:{name}:pull,push,delete")
        return Pusher(self._connection, name, credentials=credentials, token=token)

    def _connection(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection("127.0.0.1", self.port, timeout=60)
        # Which certificate it shows is what other tests look at.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        return HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def _start(self, binary: str) -> bool:
        """Start on a free port; False where the registry ended, as when the port was taken."""
        self.port = refused_port()
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
            # Another server may have taken the port: an answer alone does not mean this one.
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
                "delete": {"enabled": True},
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
