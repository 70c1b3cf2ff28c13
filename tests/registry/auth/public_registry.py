"""Pull from a registry with a public address, inside a network namespace of its own.

`test_private_realm` runs this. It prints the error, its hint, and whether each token request had
credentials, as JSON.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

from wherry import Client, WherryError
from wherry.testing import (
    FakeRegistry,
    Fault,
    SetHeader,
    build_image,
    make_certificate,
    tar_layer,
)

PUBLIC = "93.184.216.34"


class Forwarder(socketserver.ThreadingTCPServer):
    """Forwards connections, by default at the public address, to a port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, port: int, address: tuple[str, int] = (PUBLIC, 0)) -> None:
        self._port = port
        super().__init__(address, socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002 - the base's
        there = socket.create_connection(("127.0.0.1", self._port))
        threading.Thread(target=copy, args=(there, request), daemon=True).start()
        copy(request, there)


def copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def rebind(hosts: Path) -> None:
    """Make a name resolve to this machine from now on; the file is the namespace's /etc/hosts."""
    lines = hosts.read_text().replace(" rebind.example", "")
    hosts.write_text(lines.replace("127.0.0.1 ", "127.0.0.1 rebind.example "))


def main(registry_name: str, realm_name: str, user: str) -> None:
    """Pull from a registry, by its name, whose realm has another name."""
    directory = Path.home()
    names = [
        "public.example",
        "private.example",
        "auth.example",
        "metadata.internal",
        "two.example",
        "rebind.example",
    ]
    authority, *pair = make_certificate(directory / "tls", names)
    image = build_image([tar_layer({"a": b"1"})])
    with FakeRegistry(users={"me": "secret"}, tokens=True, public=True, tls=tuple(pair)) as fake:  # type: ignore[arg-type]
        ports = {"private.example": fake.port, "metadata.internal": fake.port}
        ports["two.example"] = fake.port  # nothing listens at its public address
        forwarder = Forwarder(fake.port)
        port = ports.get(registry_name, forwarder.server_address[1])
        realm = f"https://{realm_name}:{ports.get(realm_name, forwarder.server_address[1])}/token"
        fake.inject(Fault(SetHeader("WWW-Authenticate", f'Bearer realm="{realm}"'), path="^/v2/"))
        fake.add_image("app", image, "t")
        certificates = directory / ".config/containers/certs.d" / f"{registry_name}:{port}"
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes(authority.read_bytes())
        fake.add_image("other", image, "t")
        fake.inject(Fault(SetHeader("Connection", "close"), path="^/token"))
        Forwarder(fake.port, ("127.0.0.1", forwarder.server_address[1]))
        credentials = ("me", "secret") if user == "user" else None
        said = {"error": "", "hint": ""}
        try:
            with Client(store=directory / "store", credentials=credentials, retries=1) as client:
                client.pull(f"{registry_name}:{port}/app:t")
                if realm_name == "rebind.example":
                    rebind(directory / "hosts")
                    client.pull(f"{registry_name}:{port}/other:t")
        except WherryError as error:
            said = {"error": f"{type(error).__name__}: {error}", "hint": error.hint}
        sent = [
            "authorization" in request.headers
            for request in fake.requests
            if request.path.startswith("/token")
        ]
    sys.stdout.write(json.dumps(said | {"sent": sent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
