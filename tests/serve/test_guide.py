"""docs/serve.md says what the programs do."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import wherry
from wherry.cli.serve import command
from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
CACHE = "cache.lan:5000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_options_of_serve_exist() -> None:
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    lines = re.findall(r"wherry (?:--store \S+ )?serve([^\n`]*)", GUIDE)
    used = {word for line in lines for word in re.findall(r"(?<=\s)--[a-z-]+", line)}
    assert {"--listen", "--proxy", "--htpasswd", "--tls", "--read-only", "--name"} <= used
    assert used <= known


def test_the_mirrors_of_registries_conf(
    serve_store: Callable[..., AbstractContextManager[str]],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A client with this file gets images of both registries from the cache."""
    del environment
    with FakeRegistry() as upstream:
        image = upstream.add("acme/app:1", files={"etc/motd": b"hello"})
        proxies = [f"{host}={upstream.url}" for host in ("docker.io", "ghcr.io")]
        with serve_store(tmp_path / "cache", proxies=proxies) as url:
            path = tmp_path / "registries.conf"
            path.write_text(blocks("toml")[0].replace(CACHE, url.removeprefix("http://")))
            monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))
            with wherry.Client(store=tmp_path / "client") as client:
                for host in ("docker.io", "ghcr.io"):
                    assert client.pull(f"{host}/acme/app:1").digest == image.digest


def test_the_files_of_containerd_and_docker() -> None:
    hosts = tomllib.loads(blocks("toml")[1])
    assert hosts["host"] == {f"http://{CACHE}": {"capabilities": ["pull", "resolve"]}}
    assert json.loads(blocks("json")[0]) == {"registry-mirrors": [f"http://{CACHE}"]}
