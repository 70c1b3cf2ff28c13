"""Credentials in files, and the order in which they are looked up."""

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wherry
from wherry.errors import WherryError
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials


def entry(user: str, password: str = "pw", **extra: str) -> dict[str, str]:  # noqa: S107 - of no account
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode(), **extra}


def written(path: Path, auths: Any) -> Path:
    path.write_text(json.dumps({"auths": auths}))
    return path


def user(store: CredentialStore, host: str, path: str = "o/r") -> str | None:
    found = store.find(host, path)
    return None if found is None else found.username


def test_without_files_there_are_no_credentials(tmp_path: Path) -> None:
    assert CredentialStore().find("h", "p") is None
    missing = CredentialStore((tmp_path / "none", tmp_path / "no" / "such", Path("/dev/null/x")))
    assert missing.find("h", "p") is None


def test_the_callers_credentials_come_before_all_files(tmp_path: Path) -> None:
    file = written(tmp_path / "a", {"h": entry("file")})
    fixed = Credentials("fixed", "pw")
    store = CredentialStore((file,), fixed)
    assert store.find("h", "p") is fixed
    assert store.find("other", "p") is fixed


def test_the_first_file_with_the_host_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "first", {"a": entry("first"), "empty": {}})
    second = written(
        tmp_path / "second", {"a": entry("second"), "b": entry("second"), "empty": entry("second")}
    )
    store = CredentialStore((tmp_path / "missing", first, second))
    assert user(store, "a") == "first"
    assert user(store, "b") == "second"
    assert user(store, "c") is None


def test_an_empty_entry_is_skipped(tmp_path: Path) -> None:
    """Tools leave empty entries beside credential helpers."""
    first = written(tmp_path / "first", {"a": {}, "b": {"auth": ""}, "c": None, "d": "x"})
    second = written(tmp_path / "second", {host: entry("second") for host in "abcd"})
    store = CredentialStore((first, second))
    assert [user(store, host) for host in "abcd"] == ["second"] * 4


def test_the_longest_path_counts(tmp_path: Path) -> None:
    """containers-auth.json(5): the most specific key."""
    auths = {
        "h": entry("host"),
        "h/a": entry("a"),
        "h/a/b": entry("ab"),
        "h/a/b/c/d": entry("abcd"),
        "h:5000": entry("port"),
        "other/a/b": entry("other"),
    }
    store = CredentialStore((written(tmp_path / "f", auths),))
    assert user(store, "h", "x") == "host"
    assert user(store, "h", "a") == "a"
    assert user(store, "h", "a/x") == "a"
    assert user(store, "h", "ab/x") == "host"
    assert user(store, "h", "a/b") == "ab"
    assert user(store, "h", "a/b/c") == "ab"
    assert user(store, "h", "a/b/c/d") == "abcd"
    assert user(store, "h:5000", "a/b") == "port"
    assert user(store, "h:5001", "a/b") is None
    assert user(store, "H", "a/b") is None


def test_an_earlier_file_comes_before_a_longer_path(tmp_path: Path) -> None:
    first = written(tmp_path / "first", {"h": entry("first")})
    second = written(tmp_path / "second", {"h/a/b": entry("second")})
    assert user(CredentialStore((first, second)), "h", "a/b") == "first"


@pytest.mark.parametrize(
    "key",
    [
        "docker.io",
        "index.docker.io",
        "https://index.docker.io/v1/",
        "https://index.docker.io/v1",
        "https://index.docker.io",
        "http://index.docker.io/v1/",
        "https://docker.io",
        "registry-1.docker.io",
    ],
)
def test_docker_hub_has_many_names(key: str, tmp_path: Path) -> None:
    """docker's key for it is ``https://index.docker.io/v1/``."""
    store = CredentialStore((written(tmp_path / "f", {key: entry("hub")}),))
    assert user(store, "docker.io", "library/alpine") == "hub"
    assert user(store, "ghcr.io", "library/alpine") is None


@pytest.mark.parametrize(
    "key", ["https://h:5000/v1/", "https://h:5000", "http://h:5000/v2/", "h:5000"]
)
def test_urls_of_other_hosts_are_keys_too(key: str, tmp_path: Path) -> None:
    store = CredentialStore((written(tmp_path / "f", {key: entry("me")}),))
    assert user(store, "h:5000") == "me"
    assert user(store, "h") is None


def test_a_host_comes_before_a_url(tmp_path: Path) -> None:
    auths = {"https://h/v1/": entry("legacy"), "h": entry("plain")}
    for order in (auths, dict(reversed(auths.items()))):
        store = CredentialStore((written(tmp_path / "f", order),))
        assert user(store, "h") == "plain"


def test_a_password_may_contain_any_character(tmp_path: Path) -> None:
    for password in ("a:b", "", "p\u00e4ss w\u00f6rd", "\U0001f600"):
        store = CredentialStore((written(tmp_path / "f", {"h": entry("me", password)}),))
        assert store.find("h", "p") == Credentials("me", password)


def test_dockers_padding_with_zeros_is_removed(tmp_path: Path) -> None:
    store = CredentialStore((written(tmp_path / "f", {"h": entry("me", "pw\0\0")}),))
    assert store.find("h", "p") == Credentials("me", "pw")


def test_identity_tokens_are_read(tmp_path: Path) -> None:
    auths: dict[str, Any] = {
        "a": {"identitytoken": "token"},
        "b": entry("me", "", identitytoken="token"),
        "c": entry("me") | {"identitytoken": 5},
    }
    store = CredentialStore((written(tmp_path / "f", auths),))
    assert store.find("a", "p") == Credentials(identity_token="token")
    assert store.find("b", "p") == Credentials("me", "", "token")
    assert store.find("c", "p") == Credentials("me", "pw")


@pytest.mark.parametrize(
    "text", ["", "  \n", "{}", "[]", "null", '"x"', '{"auths":null}', '{"auths":[]}', '{"a":{}}']
)
def test_a_file_without_entries_has_no_credentials(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert CredentialStore((path,)).find("h", "p") is None


@pytest.mark.parametrize("raw", [b"{", b"x", b'{"auths":{"h":', b"\xff\xff\xff", b"[" * 100_000])
def test_an_invalid_file_is_named_in_the_error(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(WherryError, match=r"config\.json"):
        CredentialStore((path,)).find("h", "p")


def test_an_unreadable_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(WherryError, match=tmp_path.name):
        CredentialStore((tmp_path,)).find("h", "p")


@pytest.mark.parametrize("auth", ["!", "a", "abcde", "YTpi!", "\u00e9", "YTpi\0", "YTpi=YTpi"])
def test_the_error_for_an_invalid_entry_shows_no_secret(auth: str, tmp_path: Path) -> None:
    path = written(tmp_path / "config.json", {"h": {"auth": auth}, "other": entry("me")})
    store = CredentialStore((path,))
    with pytest.raises(WherryError, match=r"config\.json") as caught:
        store.find("h", "p")
    shown = str(caught.value).removeprefix(str(path))
    assert "h" in shown
    assert auth not in shown or len(auth) < 2
    assert user(store, "other") == "me"


def wrapped(pair: bytes, end: str) -> str:
    """Return base64 as `base64` prints it: lines of 76 characters."""
    return base64.encodebytes(pair).decode().replace("\n", end)


LONG = "p" * 200


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("bWU6cHc=\n", Credentials("me", "pw")),
        ("bWU6cHc=\r\n", Credentials("me", "pw")),
        ("  bWU6\tcHc= \n\n", Credentials("me", "pw")),
        (wrapped(b"me:" + LONG.encode(), "\n"), Credentials("me", LONG)),
        (wrapped(b"me:" + LONG.encode(), "\r\n"), Credentials("me", LONG)),
        (wrapped(b"me:" + LONG.encode(), " "), Credentials("me", LONG)),
        ("bWU6cHc", Credentials("me", "pw")),  # without padding
        ("bWU6Pz8-_w", Credentials("me", "??>\udcff")),  # the URL-safe alphabet
        ("bWU6Pz8+/w==", Credentials("me", "??>\udcff")),
        ("bWU6AABwdwAA", Credentials("me", "pw")),  # zeros on both sides
        ("bWU6cHcK", Credentials("me", "pw\n")),  # this newline belongs to the password
    ],
)
def test_base64_may_have_line_breaks_and_either_alphabet(
    auth: str, expected: Credentials, tmp_path: Path
) -> None:
    """Go's decoder skips line breaks, and so do docker, podman and skopeo."""
    path = written(tmp_path / "config.json", {"h": {"auth": auth}})
    assert CredentialStore((path,)).find("h", "p") == expected


@pytest.mark.parametrize("pair", [b"me:p\xe4ss", b"m\xe9:p", b"me:\xff\xfe\x80", b"me:\xc3\xa4"])
def test_bytes_that_are_not_utf8_are_sent_unchanged(pair: bytes, tmp_path: Path) -> None:
    encoded = base64.b64encode(pair).decode()
    path = written(tmp_path / "config.json", {"h": {"auth": encoded}})
    found = CredentialStore((path,)).find("h", "p")
    assert found is not None
    assert found.basic == f"Basic {encoded}"


@pytest.mark.parametrize(
    ("pair", "words"),
    [(b"name", "no colon"), (b"na\xefme", "no colon"), (b"\0", "no colon"), (b":pw", "no user")],
)
def test_an_entry_without_a_user_name_is_skipped(pair: bytes, words: str, tmp_path: Path) -> None:
    """docker and podman skip such an entry as well."""
    auth = base64.b64encode(pair).decode()
    first = written(tmp_path / "first.json", {"h/a": {"auth": auth}, "g": {"auth": auth}})
    second = written(tmp_path / "second.json", {"h": entry("second")})
    store = CredentialStore((first, second))
    assert user(store, "h", "a/b") == "second"
    places = [(look.place, look.failed) for look in store.look_up("h", "a/b")]
    assert places == [(str(first), True), (str(second), False)]
    outcome = store.look_up("h", "a/b")[0].outcome
    assert outcome.startswith("entry h/a is skipped: ")
    assert words in outcome
    assert "name" not in outcome.replace("user name", "")
    assert user(store, "g") is None


def test_a_shorter_key_counts_if_a_longer_one_is_skipped(tmp_path: Path) -> None:
    auths = {"h/a/b": {"auth": "bmFtZQ=="}, "h/a": {}, "h": entry("host")}
    assert user(CredentialStore((written(tmp_path / "f", auths),)), "h", "a/b/c") == "host"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"auth": "bWU6cHc=", "username": "x", "password": "y"}, Credentials("me", "pw")),
        ({"auth": "bmFtZQ==", "username": "x", "password": "y"}, Credentials("x", "y")),
        ({"auth": "", "username": "x", "password": "y"}, Credentials("x", "y")),
        ({"auth": " \n", "username": "x", "password": "y"}, Credentials("x", "y")),
        ({"auth": "", "identitytoken": "t"}, Credentials(identity_token="t")),
        ({"auth": "bmFtZQ==", "identitytoken": "t"}, Credentials(identity_token="t")),
        ({"auth": "bWU6", "identitytoken": "t"}, Credentials("me", "", "t")),
        ({"auth": None, "username": None, "identitytoken": None}, None),
        ({"auth": ["bWU6cHc="]}, None),
        ({"username": "m\ud800e", "password": "p"}, Credentials("m\ufffde", "p")),
    ],
)
def test_entries_may_have_other_keys_than_auth(
    given: Any, expected: Credentials | None, tmp_path: Path
) -> None:
    """Kubernetes writes a name and a password beside ``auth``; clouds write identity tokens."""
    found = CredentialStore((written(tmp_path / "f", {"h": given}),)).find("h", "p")
    assert found == expected
    assert found is None or found.basic


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    """Editors and shells of Windows put one before JSON, or write UTF-16."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"h": entry("me")}}), encoding=encoding)
    assert user(CredentialStore((path,)), "h") == "me"


def test_a_file_in_latin_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"note":"\xe4","auths":{"h":{"username":"me","password":"p\xe4"}}}')
    found = CredentialStore((path,)).find("h", "p")
    assert found is not None
    assert base64.b64decode(found.basic.removeprefix("Basic ")) == b"me:p\xe4"


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    raw=st.one_of(
        st.binary(max_size=40),
        st.dictionaries(
            st.sampled_from(["h", "h/p", "https://h/v1/", "://", "x"]),
            st.one_of(
                st.none(),
                st.text(max_size=5),
                st.fixed_dictionaries(
                    {},
                    optional={
                        "auth": st.one_of(
                            st.integers(),
                            st.text(max_size=8),
                            st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode()),
                        ),
                        "identitytoken": st.one_of(st.none(), st.text(max_size=3)),
                    },
                ),
            ),
            max_size=3,
        ).map(lambda auths: json.dumps({"auths": auths}).encode()),
    )
)
def test_any_file_gives_credentials_or_a_wherry_error(raw: bytes, tmp_path: Path) -> None:
    """containers-auth.json(5): `auths` maps hosts and namespaces to entries with `auth`."""
    path = tmp_path / "auth.json"
    path.write_bytes(raw)
    try:
        found = CredentialStore((path,)).find("h", "p")
    except WherryError as error:
        assert "auth.json" in str(error)  # noqa: PT017 - either outcome is allowed
    else:
        assert found is None or found.identity_token or isinstance(found.username, str)


AS_NOBODY = """
import os, sys
from pathlib import Path
from wherry.errors import WherryError
from wherry.registry.auth import credential_helpers
from wherry.registry.auth.credential_store import CredentialStore
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)  # may not see the interpreter any more
closed, mine = map(Path, sys.argv[1:])
store = CredentialStore([closed, mine])
print(store.find("h", "p").username, [place.outcome for place in store.look_up("h", "p")])
try:
    CredentialStore([closed]).find("h", "p")
except WherryError as error:
    print(error)
"""


def test_a_file_without_permission_is_skipped_unless_the_user_named_it() -> None:
    """Only root may read ``/run/containers``, where the first of the default files is."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # pytest's own directories are closed to others
        closed = Path(directory) / "closed"
        closed.mkdir()
        mine = written(Path(directory) / "mine.json", {"h": entry("me")})
        mine.chmod(0o644)
        closed.chmod(0)
        try:
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, closed / "auth.json", mine],
                capture_output=True,
                text=True,
                check=False,
                env={"PYTHONPATH": str(Path(wherry.__file__).parent.parent)},
                cwd="/",
            )
        finally:
            closed.chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "me ['cannot be read (no permission)', 'entry h']",
        f"{closed}/auth.json: Permission denied",
    ]


def test_given_credentials_by_repository() -> None:
    """The longest key wins; mirrors get none of them."""
    given = {"h": Credentials("host", "p"), "h/a/b": Credentials("repository", "p")}
    store = CredentialStore((), given)
    assert user(store, "h", "a/b") == "repository"
    assert user(store, "h", "a/c") == "host"
    assert user(store, "other", "a/b") is None
    assert store.find("h", "a/b", own=False) is None
