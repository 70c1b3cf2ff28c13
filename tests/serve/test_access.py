"""Access: users of an htpasswd file, pages of other sites."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest

import wherry
from asgi_client import Answer, AsgiClient
from passwords import basic, entry
from wherry.config import host_platform
from wherry.serve.context import Context
from wherry.serve.guarded_app import Guards, create_guarded_app
from wherry.serve.htpasswd import Htpasswd

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.store import LocalStore


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_bytes(b"# people\n\n" + entry("alice", "secret") + entry("böb", "p:ss wörd"))
    return path


@pytest.fixture
def guarded(local: LocalStore, users: Path) -> AsgiClient:
    context = Context(local, "localhost:5000", host_platform())
    return AsgiClient(create_guarded_app(context, Guards(users=Htpasswd(users))))


def challenge(answer: Answer) -> str:
    assert answer.status == 401
    assert answer.codes == ["UNAUTHORIZED"]
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    return answer.headers["www-authenticate"]


@pytest.mark.parametrize("target", ["/v2/", "/v2/a/tags/list", "/", "/metrics", "/nothing"])
def test_everything_needs_a_password(guarded: AsgiClient, target: str) -> None:
    assert challenge(guarded("GET", target)).startswith('Basic realm="wherry"')


def test_health_needs_no_password(guarded: AsgiClient) -> None:
    answer = guarded("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize(("user", "password"), [("alice", "secret"), ("böb", "p:ss wörd")])
def test_the_password_of_a_user_gives_access(guarded: AsgiClient, user: str, password: str) -> None:
    assert guarded("GET", "/v2/", headers=basic(user, password)).status == 200
    assert guarded("GET", "/v2/", headers=basic(user, password)).status == 200  # remembered


@pytest.mark.parametrize(
    "header",
    [
        basic("alice", "wrong")["Authorization"],
        basic("alice", "")["Authorization"],
        basic("alice", "secret\0")["Authorization"],
        basic("carol", "secret")["Authorization"],
        basic("", "")["Authorization"],
        basic("# people", "")["Authorization"],
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"alice:\xff").decode(),
        "Basic !!!",
        "Basic",
        "",
        "Bearer secret",
    ],
)
def test_other_headers_are_refused(guarded: AsgiClient, header: str) -> None:
    challenge(guarded("GET", "/v2/", headers={"Authorization": header}))


def test_a_long_password_is_compared_up_to_what_bcrypt_hashes(users: Path) -> None:
    users.write_bytes(entry("alice", "a" * 72))
    found = Htpasswd(users)
    assert found.verify("alice", "a" * 100)
    assert not found.verify("alice", "a" * 71)


def test_a_changed_file_is_read_again(guarded: AsgiClient, users: Path) -> None:
    old, new = basic("alice", "secret"), basic("alice", "changed")
    assert guarded("GET", "/v2/", headers=old).status == 200
    users.write_bytes(entry("alice", "changed"))
    challenge(guarded("GET", "/v2/", headers=old))
    assert guarded("GET", "/v2/", headers=new).status == 200
    users.unlink()
    challenge(guarded("GET", "/v2/", headers=new))
    users.write_bytes(entry("alice", "secret"))
    assert guarded("GET", "/v2/", headers=old).status == 200


def test_a_file_that_became_invalid_lets_nobody_in(guarded: AsgiClient, users: Path) -> None:
    users.write_bytes(users.read_bytes() + b"carol:plain\n")
    challenge(guarded("GET", "/v2/", headers=basic("alice", "secret")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alice:$apr1$abc$def\n", "line 1: the password of 'alice' is not hashed by bcrypt"),
        ("\nalice:{SHA}abc=\n", "line 2: the password of 'alice' is not hashed by bcrypt"),
        ("alice\n", "line 1 is not USER:HASH"),
        (":$2y$\n", "line 1 is not USER:HASH"),
        ("# nobody\n", "the file has no users"),
    ],
)
def test_a_file_without_bcrypt_is_an_error(users: Path, text: str, message: str) -> None:
    users.write_text(text)
    with pytest.raises(wherry.WherryError) as caught:
        Htpasswd(users)
    assert str(caught.value) == f"{users}: {message}"
    assert "htpasswd -B" in caught.value.hint


def test_a_password_that_was_right_costs_no_second_hash(users: Path) -> None:
    users.write_bytes(entry("alice", "secret", cost=10))
    found = Htpasswd(users)
    assert not found.remembers("alice", "secret")
    begin = time.thread_time()
    assert found.verify("alice", "secret")
    hashing = time.thread_time() - begin
    begin = time.thread_time()
    assert found.remembers("alice", "secret")
    assert time.thread_time() - begin < hashing / 10
    assert not found.remembers("alice", "other")


def test_an_unknown_user_costs_as_much_as_a_wrong_password(users: Path) -> None:
    users.write_bytes(entry("alice", "secret", cost=9))
    found = Htpasswd(users)
    costs = []
    for user in ("alice", "carol"):
        begin = time.thread_time()
        assert not found.verify(user, "wrong")
        costs.append(time.thread_time() - begin)
    assert 0.5 < costs[0] / costs[1] < 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_web_page_cannot_change_anything(local: LocalStore, tmp_path: Path, method: str) -> None:
    app = AsgiClient(
        create_guarded_app(Context(local, "localhost:5000", host_platform()), Guards())
    )
    target = "/v2/a/b/blobs/uploads/"
    answer = app(method, target, headers={"Origin": "http://localhost:5000"})
    assert (answer.status, answer.codes) == (403, ["DENIED"])
    assert not (tmp_path / "store").exists()
    assert app("GET", "/v2/", headers={"Origin": "http://example.org"}).status == 200
    assert app("POST", target).status == 202
