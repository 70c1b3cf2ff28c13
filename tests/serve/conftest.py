"""Fixtures of the registry: a running server, and the application without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_client import AsgiClient
from registry_http import RegistryHttp
from served_store import running_server
from wherry.config import host_platform
from wherry.serve.app import create_app
from wherry.serve.context import Context
from wherry.store import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

NAME = "localhost:5000"


@pytest.fixture
def serve_store() -> Callable[..., AbstractContextManager[str]]:
    """Return a context manager that serves a store, see `running_server`."""
    return running_server


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of the store at `tmp_path / "store"`."""
    with running_server(tmp_path / "store") as found:
        yield found


@pytest.fixture(scope="module")
def registry_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryHttp]:
    """A connection to one server for all tests of a module; each has its own `repository`."""
    with running_server(tmp_path_factory.mktemp("served") / "store") as found:
        yield (http := RegistryHttp(found))
        http.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    """The store of `api`."""
    store = LocalStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def api(local: LocalStore) -> AsgiClient:
    """The application without sockets; its name is `localhost:5000`."""
    return AsgiClient(create_app(Context(local, NAME, host_platform())))
