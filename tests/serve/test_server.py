"""The server process: start, addresses, stop."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_client import AsgiClient


def test_a_server_answers_on_a_free_port(url: str) -> None:
    with urllib.request.urlopen(f"{url}/v2/") as answer:  # noqa: S310 - an http address
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert answer.read() == b"{}"


def test_the_application_answers_without_sockets(api: AsgiClient) -> None:
    answer = api("GET", "/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert api("GET", "/v2/UPPER/tags/list").codes == ["NAME_INVALID"]
