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


def test_without_files_there_is_nothing(tmp_path: Path) -> None:
    assert CredentialStore().find("h", "p") is None
    missing = CredentialStore((tmp_path / "none", tmp_path / "no" / "such", Path("/dev/null/x")))
    assert missing.find("h", "p") is None


def test_what_the_caller_gives_goes_before_all_files(tmp_path: Path) -> None:
    """SPEC: "Credentials, in order: `--creds`; …"."""
    file = written(tmp_path / "a", {"h": entry("file")})
    fixed = Credentials("fixed", "pw")
    store = CredentialStore((file,), fixed)
    assert store.find("h", "p") is fixed
    assert store.find("other", "p") is fixed


def test_the_first_file_that_knows_the_host_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "first", {"a": entry("first"), "empty": {}})
    second = written(
        tmp_path / "second", {"a": entry("second"), "b": entry("second"), "empty": entry("second")}
    )
    store = CredentialStore((tmp_path / "missing", first, second))
    assert user(store, "a") == "first"
    assert user(store, "b") == "second"
    assert user(store, "c") is None


def test_an_empty_entry_is_none(tmp_path: Path) -> None:
    """SPEC: "then non-empty `auths`"; programs leave empty ones beside credential helpers."""
    first = written(tmp_path / "first", {"a": {}, "b": {"auth": ""}, "c": None, "d": "x"})
    second = written(tmp_path / "second", {host: entry("second") for host in "abcd"})
    store = CredentialStore((first, second))
    assert [user(store, host) for host in "abcd"] == ["second"] * 4


def test_the_longest_path_counts(tmp_path: Path) -> None:
    """SPEC: "the longest path first"."""
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


def test_an_earlier_files_host_goes_before_a_later_files_path(tmp_path: Path) -> None:
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
    """SPEC: "legacy URLs (`https://index.docker.io/v1/` for Docker Hub)"."""
    store = CredentialStore((written(tmp_path / "f", {key: entry("hub")}),))
    assert user(store, "docker.io", "library/alpine") == "hub"
    assert user(store, "ghcr.io", "library/alpine") is None


@pytest.mark.parametrize(
    "key", ["https://h:5000/v1/", "https://h:5000", "http://h:5000/v2/", "h:5000"]
)
def test_legacy_urls_of_other_hosts(key: str, tmp_path: Path) -> None:
    store = CredentialStore((written(tmp_path / "f", {key: entry("me")}),))
    assert user(store, "h:5000") == "me"
    assert user(store, "h") is None


def test_a_plain_key_goes_before_a_legacy_url(tmp_path: Path) -> None:
    auths = {"https://h/v1/": entry("legacy"), "h": entry("plain")}
    for order in (auths, dict(reversed(auths.items()))):
        store = CredentialStore((written(tmp_path / "f", order),))
        assert user(store, "h") == "plain"


def test_a_password_may_hold_anything(tmp_path: Path) -> None:
    for password in ("a:b", "", "p\u00e4ss w\u00f6rd", "\U0001f600"):
        store = CredentialStore((written(tmp_path / "f", {"h": entry("me", password)}),))
        assert store.find("h", "p") == Credentials("me", password)


def test_zeros_that_docker_pads_with_are_cut_off(tmp_path: Path) -> None:
    store = CredentialStore((written(tmp_path / "f", {"h": entry("me", "pw\0\0")}),))
    assert store.find("h", "p") == Credentials("me", "pw")


def test_identity_tokens(tmp_path: Path) -> None:
    """SPEC: "Identity tokens"."""
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
def test_a_file_without_entries_has_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert CredentialStore((path,)).find("h", "p") is None


@pytest.mark.parametrize("raw", [b"{", b"x", b'{"auths":{"h":', b"\xff\xff\xff", b"[" * 100_000])
def test_a_file_that_is_not_json_is_an_error_that_names_it(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(WherryError, match=r"config\.json"):
        CredentialStore((path,)).find("h", "p")


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(WherryError, match=tmp_path.name):
        CredentialStore((tmp_path,)).find("h", "p")


@pytest.mark.parametrize("auth", ["!", "a", "abcde", "YTpi!", "\u00e9", "YTpi\0", "YTpi=YTpi"])
def test_an_entry_that_cannot_be_decoded_is_an_error_that_shows_no_secret(
    auth: str, tmp_path: Path
) -> None:
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
        ("bWU6cHcK", Credentials("me", "pw\n")),  # this newline is the password's
    ],
)
def test_forms_of_base64(auth: str, expected: Credentials, tmp_path: Path) -> None:
    """Go's decoder passes over ends of lines, and so do docker, podman and skopeo."""
    path = written(tmp_path / "config.json", {"h": {"auth": auth}})
    assert CredentialStore((path,)).find("h", "p") == expected


@pytest.mark.parametrize("pair", [b"me:p\xe4ss", b"m\xe9:p", b"me:\xff\xfe\x80", b"me:\xc3\xa4"])
def test_bytes_that_are_not_utf8_are_sent_as_they_are(pair: bytes, tmp_path: Path) -> None:
    encoded = base64.b64encode(pair).decode()
    path = written(tmp_path / "config.json", {"h": {"auth": encoded}})
    found = CredentialStore((path,)).find("h", "p")
    assert found is not None
    assert found.basic == f"Basic {encoded}"


@pytest.mark.parametrize(
    ("pair", "words"),
    [(b"name", "no colon"), (b"na\xefme", "no colon"), (b"\0", "no colon"), (b":pw", "no user")],
)
def test_an_entry_without_a_name_and_a_password_is_passed_over(
    pair: bytes, words: str, tmp_path: Path
) -> None:
    """docker and podman use no such entry either."""
    auth = base64.b64encode(pair).decode()
    first = written(tmp_path / "first.json", {"h/a": {"auth": auth}, "g": {"auth": auth}})
    second = written(tmp_path / "second.json", {"h": entry("second")})
    store = CredentialStore((first, second))
    assert user(store, "h", "a/b") == "second"
    places = [(look.place, look.failed) for look in store.look_up("h", "a/b")]
    assert places == [(str(first), True), (str(second), False)]
    outcome = store.look_up("h", "a/b")[0].outcome
    assert outcome.startswith("entry h/a is passed over: ")
    assert words in outcome
    assert "name" not in outcome.replace("user name", "")
    assert user(store, "g") is None


def test_a_shorter_key_counts_where_a_longer_one_is_passed_over(tmp_path: Path) -> None:
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
def test_keys_beside_auth(given: Any, expected: Credentials | None, tmp_path: Path) -> None:
    """Kubernetes writes a name and a password beside `auth`; clouds write identity tokens."""
    found = CredentialStore((written(tmp_path / "f", {"h": given}),)).find("h", "p")
    assert found == expected
    assert found is None or found.basic


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_a_file(encoding: str, tmp_path: Path) -> None:
    """Editors and shells of Windows put a byte order mark before JSON, or write UTF-16."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"h": entry("me")}}), encoding=encoding)
    assert user(CredentialStore((path,)), "h") == "me"


def test_a_file_in_latin_1(tmp_path: Path) -> None:
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
def test_any_file_gives_credentials_or_an_error_of_ours(raw: bytes, tmp_path: Path) -> None:
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


def test_a_file_of_somebody_else_is_passed_over_unless_it_was_named() -> None:
    """`/run/containers` may be root's alone, where the first of the usual files would be."""
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
        "me ['may not be read', 'entry h']",
        f"{closed}/auth.json: Permission denied",
    ]
