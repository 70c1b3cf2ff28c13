"""Uploads to a real registry behind nginx, which answers before it has the whole body."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import wherry
from waiting import wait_for_server
from wherry.errors import Denied, RegistryError, Unauthorized
from wherry.testing import (
    Distribution,
    build_image,
    find_binary,
    layout_files,
    make_certificate,
    tar_layer,
    write_files,
)
from wherry.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.errors import WherryError

IMAGE = build_image([tar_layer({"small": b"1"}), tar_layer({"large": os.urandom(9_000_000)})])
CONFIGURATION = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ }}
http {{
    access_log off; client_body_temp_path {root}/body;
    proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
    scgi_temp_path {root}/s;
    limit_req_zone $binary_remote_addr zone=all:1m rate={rate}r/s;
    limit_req zone=all burst=20 nodelay;
    limit_req_status 429;
    server {{
        listen {host} {ssl};
        {certificate}
        client_max_body_size {limit};
        proxy_request_buffering off;
        location / {{
            {refusal}
            proxy_pass {target};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(
    root: Path,
    target: str,
    *,
    tls: bool = False,
    limit: str = "0",
    refusal: str = "",
    rate: int = 1000,
) -> Iterator[str]:
    """Run nginx before ``target``; ``limit`` is that of a body, ``rate`` of requests a second."""
    root.mkdir()
    host = f"127.0.0.1:{free_port()}"
    _, chain, key = make_certificate(root)
    file = root / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(
            root=root,
            host=host,
            target=target,
            ssl="ssl" if tls else "",
            certificate=f"ssl_certificate {chain}; ssl_certificate_key {key};" if tls else "",
            limit=limit,
            refusal=refusal,
            rate=rate,
        )
    )
    command = ["timeout", "60", find_binary("nginx") or "nginx", "-c", str(file), "-p", str(root)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        address, _, port = host.partition(":")
        wait_for_server(address, int(port))
        yield host
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.peer("docker-registry", "nginx")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("limit", "status", "kind"),
    [("1m", None, RegistryError), ("0", 401, Unauthorized), ("0", 403, Denied), ("0", None, None)],
)
def test_an_early_answer(
    tmp_path: Path,
    environment: dict[str, str],
    tls: bool,
    limit: str,
    status: int | None,
    kind: type[WherryError] | None,
) -> None:
    assert environment
    write_files(tmp_path / "layout", layout_files({"1": IMAGE}))
    refusal = f"if ($request_method = PATCH) {{ return {status}; }}" if status else ""
    with (
        Distribution(tmp_path / "registry") as registry,
        nginx(tmp_path / "nginx", registry.url, tls=tls, limit=limit, refusal=refusal) as host,
        wherry.Client(insecure=True, retries=1) as client,
    ):
        names = (f"oci:{tmp_path / 'layout'}:1", f"{host}/app:1")
        if kind is None:
            assert client.copy(*names).root.digest == IMAGE.digest
            return
        with pytest.raises(kind) as caught:
            client.copy(*names)
        assert str(status or 413) in str(caught.value)
        assert status or "client_max_body_size" in caught.value.hint
        with pytest.raises(wherry.NotFound):
            client.digest(f"{host}/app:1")


@pytest.mark.peer("docker-registry", "nginx")
def test_a_limit_of_requests_slows_a_push_down(tmp_path: Path, environment: dict[str, str]) -> None:
    """nginx sends no ``Retry-After``."""
    assert environment
    image = build_image([tar_layer({f"f{number}": os.urandom(1000)}) for number in range(20)])
    write_files(tmp_path / "layout", layout_files({"1": image}))
    with (
        Distribution(tmp_path / "registry") as registry,
        nginx(tmp_path / "nginx", registry.url, rate=10) as host,
        wherry.Client() as client,
    ):
        client.copy(f"oci:{tmp_path / 'layout'}:1", f"{host}/app:1")
        registry_name = f"{registry.host}/app:1"
        assert client.digest(registry_name) == image.digest
