"""A docker engine (20.10) as a client of `wherry serve`. Run these tests by hand, as root."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

import bcrypt
import pytest

from docker_engine import Engine, running_engine
from index_images import ARM, IMAGE, INDEX
from served_store import running_server
from wherry import Client
from wherry.testing import layout_files, make_certificate, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.peer("dockerd"), pytest.mark.long]
USER, PASSWORD = "me", "correct horse"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.getuid() != 0:
        pytest.skip("an engine runs as root")
    with running_engine(tmp_path_factory.mktemp("dockerd")) as engine:
        yield engine


@pytest.fixture(scope="module", params=["open", "password and tls"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a store; an engine accepts any certificate of a loopback address."""
    place, options = tmp_path_factory.mktemp("served"), {}
    if request.param != "open":
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (place / "users").write_text(f"{USER}:{hashed}\n")
        _, *files = make_certificate(place / "certificates")
        options = {"htpasswd": place / "users", "tls": tuple(files)}
    layout = write_files(place / "layout", layout_files({"t": INDEX}))
    with running_server(place / "store", **options) as url:
        address = url.partition("://")[2]
        with Client(store=place / "other", insecure=True, credentials=(USER, PASSWORD)) as client:
            client.copy(f"oci:{layout}:t", f"{address}/app:all", all_platforms=True)
        yield address


def auth() -> str:
    given = {"username": USER, "password": PASSWORD}
    return base64.urlsafe_b64encode(json.dumps(given).encode()).decode()


def told(engine: Engine, path: str) -> list[dict[str, object]]:
    """Send a POST; return the messages of the answer."""
    status, answer = engine.ask("POST", path, auth=auth())
    assert status == 200, answer
    messages = [json.loads(line) for line in answer.splitlines()]
    assert not [each for each in messages if "error" in each], answer
    return messages


def test_the_engine_pulls_and_pushes(engine: Engine, host: str, tmp_path: Path) -> None:
    told(engine, f"/images/create?fromImage={host}/app&tag=all")
    _, answer = engine.ask("GET", f"/images/{host}/app:all/json")
    inspected = json.loads(answer)
    assert inspected["Id"] == IMAGE.id
    assert f"{host}/app@{INDEX.digest}" in inspected["RepoDigests"]
    told(engine, f"/images/create?fromImage={host}/app@{ARM.digest}")
    engine.ask("POST", f"/images/{host}/app:all/tag?repo={host}/pushed&tag=1")
    messages = told(engine, f"/images/{host}/pushed/push?tag=1")
    (digest,) = [
        str(aux["Digest"]) for each in messages if isinstance(aux := each.get("aux"), dict)
    ]
    with Client(store=tmp_path / "store", insecure=True, credentials=(USER, PASSWORD)) as client:
        assert client.digest(f"{host}/pushed:1") == digest
        assert client.pull(f"{host}/pushed:1").id == IMAGE.id
    told(engine, f"/images/create?fromImage={host}/pushed@{digest}")
