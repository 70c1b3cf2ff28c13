"""Lists of a real registry behind a proxy that changes their links."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for_server
from wherry.testing import Distribution, build_image, find_binary, free_port, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry import Client

NAMES = ["a-one", "b-two", "c-three", "d-four", "e-five"]  # valid as tags too
# Debian's Distribution pages only its catalog, so nginx serves the catalog as a tag list.
CONFIGURATION = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ }}
http {{
    access_log {root}/access.log; client_body_temp_path {root}/body;
    proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
    scgi_temp_path {root}/s;
    map $args $pages {{ "" "n=2"; default $args; }}
    map $upstream_http_link $moved {{ "~^<(?<to>.*)>" '{link}'; }}
    server {{
        listen {host};
        location ~ ^/v2/(_catalog|all/tags/list)$ {{
            proxy_pass {target}/v2/_catalog?$pages;
            proxy_hide_header Link; add_header Link $moved;
            sub_filter_types application/json; sub_filter '"repositories"' '"tags"';
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(root: Path, target: str, link: str) -> Iterator[str]:
    """Run nginx before `target`; in `link`, ``$to`` is the target of the original link."""
    root.mkdir()
    host = f"127.0.0.1:{free_port()}"
    file = root / "nginx.conf"
    file.write_text(CONFIGURATION.format(root=root, host=host, target=target, link=link))
    command = ["timeout", "60", find_binary("nginx") or "nginx", "-c", str(file), "-p", str(root)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        address, _, port = host.partition(":")
        wait_for_server(address, int(port))
        yield host
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with Distribution(tmp_path_factory.mktemp("catalog")) as registry:
        for name in NAMES:
            registry.push(name, build_image([tar_layer({"a": name.encode()})]), "t")
        yield registry


@pytest.mark.peer("docker-registry", "nginx")
@pytest.mark.parametrize(
    "link",
    [
        '<$to>; rel="next"',
        "<$to>; REL=Next",
        '<http://registry.invalid:1$to>; title="a, b; rel=prev"; rel="prev next"',
        '</v2/>; rel="first", <$to>; rel="next"',
    ],
)
def test_all_pages_are_read_through_a_proxy(
    tmp_path: Path, catalog: Distribution, client: Client, link: str
) -> None:
    with nginx(tmp_path / "nginx", catalog.url, link) as host:
        assert client.tags(f"{host}/all") == NAMES
    assert (tmp_path / "nginx" / "access.log").read_text().count("GET /v2/") == 3


@pytest.mark.peer("docker-registry")
def test_all_repositories_are_listed(tmp_path: Path, client: Client) -> None:
    """Distribution lists 100 repositories on a page."""
    with Distribution(tmp_path / "registry") as registry:
        registry.push("n000", build_image([tar_layer({"a": b"1"})]), "t")
        repositories = registry.root / "data" / "docker" / "registry" / "v2" / "repositories"
        names = [f"n{number:03}" for number in range(205)]
        for name in names[1:]:
            shutil.copytree(repositories / "n000", repositories / name)
        registry.clear()
        assert client.catalog(registry.host) == names
        assert len(registry.requests()) == 3
