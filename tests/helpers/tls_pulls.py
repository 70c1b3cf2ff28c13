"""Pulls over TLS, and the configuration of certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherry import Client, Store
from wherry.testing import build_image, tar_layer

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])


def pull(store: Store, name: str, **options: Any) -> str:
    with Client(store=store, retries=1, **options) as client:
        return str(client.pull(name).id)


def certs_d(environment: dict[str, str], host: str, **files: Path) -> Path:
    directory = Path(environment["XDG_CONFIG_HOME"]) / "containers" / "certs.d" / host
    directory.mkdir(parents=True)
    for name, file in files.items():
        (directory / name.replace("_", ".")).write_bytes(file.read_bytes())
    return directory
