"""The access log, the metrics and the health of a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from asgi_client import AsgiClient
from passwords import basic, entry
from wherry.config import host_platform
from wherry.serve.context import Context
from wherry.serve.guarded_app import Guards, create_guarded_app
from wherry.serve.htpasswd import Htpasswd
from wherry.serve.observe import Exchange, Observed
from wherry.testing import tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from wherry.store import LocalStore

LINE = re.compile(
    r'(\S+) (\S+) \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "(.*)" (\d+) (\d+) (\d+) \d+ms "(.*)"'
)
LAYER = tar_layer({"a": b"1"})


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def app(local: LocalStore, lines: list[str]) -> AsgiClient:
    context = Context(local, "localhost:5000", host_platform())
    return AsgiClient(create_guarded_app(context, Guards(log=lines.append)))


def fields(line: str) -> tuple[str, ...]:
    found = LINE.fullmatch(line)
    assert found is not None, line
    assert line.isascii()
    assert line.isprintable()
    return found.groups()


@pytest.mark.parametrize("target", ["/healthz", "/metrics"])
def test_health_and_metrics_are_only_read(app: AsgiClient, target: str) -> None:
    assert app("GET", target).status == app("HEAD", target).status == 200
    assert app("POST", target, b"1").status == 404


def test_a_line_tells_what_was_asked_and_answered(app: AsgiClient, lines: list[str]) -> None:
    location = app("POST", "/v2/acme/app/blobs/uploads/").headers["location"]
    app("PATCH", location, b"12345", headers={"User-Agent": "skopeo/1.9"})
    app("GET", "/v2/acme/app/tags/list?n=5&last=a")
    asked = [fields(line) for line in lines]
    assert asked[1] == ("127.0.0.1", "-", f"PATCH {location}", "202", "5", "0", "skopeo/1.9")
    assert asked[2][2:4] == ("GET /v2/acme/app/tags/list?n=5&last=a", "404")
    assert int(asked[2][5]) > 0


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v2/?token=hidden&digest=sha256:00", "/v2/?digest=sha256:00"),
        ("/v2/?hidden", "/v2/"),
        ("/v2/a%0a127.0.0.1%20-%20%22GET", "/v2/a%0A127.0.0.1%20-%20%22GET"),
        ("/v2/?digest=%0d%0aInjected", "/v2/?digest=%0D%0AInjected"),
        ("/v2/%c3%a4%e2%80%ae", "/v2/%C3%A4%E2%80%AE"),
    ],
)
def test_a_line_has_no_secret_and_is_one_line(
    app: AsgiClient, lines: list[str], target: str, shown: str
) -> None:
    app("GET", target, headers={"User-Agent": 'a\tb"c\x1b', "Authorization": "Basic aGlkZGVu"})
    assert fields(lines[0])[2] == f"GET {shown}"
    assert fields(lines[0])[6] == "a?b?c?"


def test_lines_have_a_bounded_length(app: AsgiClient, lines: list[str]) -> None:
    app(
        "GET", "/v2/" + "a" * 50_000 + "?digest=" + "b" * 50_000, headers={"User-Agent": "c" * 9999}
    )
    assert len(lines[0]) < 1200
    fields(lines[0])


def test_a_line_names_the_user(local: LocalStore, lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes(entry("alice", "hidden"))
    context = Context(local, "localhost:5000", host_platform())
    app = AsgiClient(create_guarded_app(context, Guards(Htpasswd(path), lines.append)))
    app("GET", "/v2/", headers=basic("alice", "hidden"))
    app("GET", "/v2/", headers=basic("alice", "wrong"))
    assert [fields(line)[1] for line in lines] == ["alice", "-"]
    assert "hidden" not in "".join(lines)


def metrics(app: AsgiClient) -> dict[str, float]:
    """Return the values of all metrics by name and labels."""
    answer = app("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    rows = [line.rsplit(" ", 1) for line in answer.body.decode().splitlines()]
    return {row[0]: float(row[1]) for row in rows if not row[0].startswith("#")}


def test_metrics_count_requests_bytes_and_uploads(app: AsgiClient) -> None:
    for _ in range(3):
        app("GET", "/v2/")
    location = app("POST", "/v2/acme/app/blobs/uploads/").headers["location"]
    app("PATCH", location, LAYER)
    app("GET", "/v2/UPPER/tags/list")
    app("BREW", "/v2/coffee/manifests/pot")
    found = metrics(app)
    total = "wherry_requests_total"
    assert found[total + '{kind="base",method="GET",status="200"}'] == 3
    assert found[total + '{kind="upload",method="PATCH",status="202"}'] == 1
    assert found[total + '{kind="invalid",method="GET",status="400"}'] == 1
    assert found[total + '{kind="manifest",method="other",status="405"}'] == 1
    assert found['wherry_received_bytes_total{kind="upload"}'] == len(LAYER)
    assert found['wherry_sent_bytes_total{kind="base"}'] == 3 * len("{}")
    assert found['wherry_request_seconds_count{kind="base",method="GET"}'] == 3
    assert found["wherry_uploads_open"] == 1
    app("DELETE", location)
    assert metrics(app)["wherry_uploads_open"] == 0


def test_clients_cannot_add_labels(app: AsgiClient) -> None:
    app("GET", "/v2/")
    app("FIRST", "/first")
    before = len(metrics(app))
    for number in range(20):
        app(f"M{number}", f"/{number}")
        app("GET", f"/v2/?{number}")
    assert len(metrics(app)) <= before + 30  # another status of known labels


def test_health_tells_of_a_store_that_cannot_be_read(app: AsgiClient, tmp_path: Path) -> None:
    assert app("GET", "/healthz").status == 200
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "wherry.db").write_bytes(b"no database" * 1000)
    assert app("GET", "/healthz").status == 503


def test_an_internal_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    exchanges: list[Exchange] = []

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        raise ConnectionAbortedError if scope["path"] == "/cut" else LookupError("defect")

    app = AsgiClient(Observed(fail, [exchanges.append]))
    for target, error in (("/cut", ConnectionAbortedError), ("/a%0ab", LookupError)):
        with pytest.raises(error):
            app("GET", target)
    assert [exchange.status for exchange in exchanges] == [500, 500]
    assert [record.getMessage() for record in caplog.records] == [r"internal error: 'GET /a\nb'"]
