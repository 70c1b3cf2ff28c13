"""Credential helpers: real programs in PATH, and their order among files and entries."""

import base64
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, WherryError
from wherry.registry.auth import credential_helpers
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials

Install = Callable[..., Path]


@pytest.fixture
def install(helper_program: Install) -> Install:
    return helper_program


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:pw".encode()).decode()}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def get(name: str, server: str = "h.example") -> Credentials | None:
    return credential_helpers.get(name, server, CancelToken())


def test_credentials_are_stored_until_they_are_erased(install: Install) -> None:
    install("box")
    assert get("box") is None
    credential_helpers.store("box", "h.example", Credentials("me", 'p"w\u00e9'))
    assert get("box") == Credentials("me", 'p"w\u00e9')
    credential_helpers.store("box", "h.example/x", Credentials(identity_token="refresh"))
    assert get("box", "h.example/x") == Credentials(identity_token="refresh")
    assert credential_helpers.erase("box", "h.example")
    assert not credential_helpers.erase("box", "h.example")
    assert get("box") is None


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("#!/bin/sh\necho keyring is locked; exit 1", "keyring is locked"),
        ("#!/bin/sh\nexit 3", "exit code 3"),
        ('#!/bin/sh\necho \'{"Secret":"topsecret"}\'; exit 1', "exit code 1"),
        ("#!/bin/sh\necho topsecret", "cannot be parsed"),
        ('#!/bin/sh\necho \'{"Username":"topsecret"}\'', "cannot be parsed"),
        ('#!/bin/sh\necho \'{"Username":1,"Secret":"topsecret"}\'', "cannot be parsed"),
        ("#!/bin/sh\necho '[1]'", "cannot be parsed"),
        ("#!/bin/sh\nhead -c 300000 /dev/zero", "too long"),
        ("#!/bin/sh\nyes topsecret", "too long"),
        ("#!/no/such/interpreter\n", "no such program"),
    ],
)
def test_a_helper_that_misbehaves_is_an_error(install: Install, program: str, words: str) -> None:
    install("bad", program)
    with pytest.raises(credential_helpers.HelperFailure, match="docker-credential-bad: ") as caught:
        get("bad")
    assert words in str(caught.value)
    assert "topsecret" not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may search every directory")
def test_a_directory_without_permission_in_path_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setenv("PATH", f"{closed}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(credential_helpers.HelperFailure, match="there is no such program in PATH"):
        get("missing")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a b", "x\n"])
def test_the_name_of_a_helper_is_not_a_path(install: Install, name: str) -> None:
    install("x")
    with pytest.raises(credential_helpers.HelperFailure, match="not a valid name"):
        get(name)


def test_the_output_of_a_helper_is_not_shown(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install("loud", "#!/bin/sh\necho topsecret >&2\nexit 1")
    with pytest.raises(credential_helpers.HelperFailure):
        get("loud")
    assert capfd.readouterr() == ("", "")


def test_a_helper_may_end_without_reading_its_input(install: Install) -> None:
    install("deaf", '#!/bin/sh\nexec <&-\necho \'{"Username":"me","Secret":"pw"}\'')
    assert get("deaf") == Credentials("me", "pw")


def test_a_helper_is_done_even_if_its_child_is_still_running(install: Install) -> None:
    install("parent", '#!/bin/sh\nsleep 30 &\necho \'{"Username":"me","Secret":"pw"}\'')
    assert get("parent") == Credentials("me", "pw")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("before", ["", "exec >&-\n"], ids=["open", "closed"])
def test_a_helper_that_takes_too_long_is_killed(install: Install, before: str) -> None:
    install("slow", f"#!/bin/sh\n{before}exec sleep 60")
    with pytest.raises(credential_helpers.HelperFailure, match="took too long"):
        credential_helpers.get("slow", "h", CancelToken(), 0.3)


@pytest.mark.timeout(20)
def test_waiting_for_a_helper_can_be_cancelled(install: Install) -> None:
    install("slow", "#!/bin/sh\nexec sleep 60")
    token = CancelToken()
    threading.Timer(0.2, token.cancel).start()
    with pytest.raises(Cancelled):
        credential_helpers.get("slow", "h", token)


@pytest.mark.parametrize("stream", ["", " >&2"], ids=["stdout", "stderr"])
@pytest.mark.parametrize(
    "words",
    [
        "credentials not found in native keychain",
        "Credentials Not Found",
        "Error: no credentials stored for h.example",
        "error erasing credentials: The specified item could not be found in the keychain.",
        "Element not found.",
        "Error: docker-credential-helpers/aC5leGFtcGxl is not in the password store.",
        "no such item",
        "Not logged in to h.example",
        "entry for https://h.example doesn't exist",
    ],
)
def test_messages_that_mean_no_credentials(install: Install, words: str, stream: str) -> None:
    """The protocol has no code for it, only an exit code and a message on either stream."""
    install("empty", f'#!/bin/sh\ncat >/dev/null\necho "{words}"{stream}\nexit 1')
    assert credential_helpers.get("empty", "h.example", CancelToken()) is None
    assert not credential_helpers.erase("empty", "h.example")


@pytest.mark.parametrize(
    "words",
    [
        "keyring is locked",
        "docker-credential-pass: 3: pass: not found",
        "docker-credential-pass: line 3: pass: command not found",
        'error getting credentials - err: exec: "pass": executable file not found in $PATH',
        "gpg: decryption failed: No secret key",
        "secret service not found",
        "dial tcp: lookup vault.example: no such host",
        "",
    ],
)
def test_messages_that_name_a_cause(install: Install, words: str) -> None:
    install("bad", f"#!/bin/sh\ncat >/dev/null\necho '{words}' >&2\nexit 1")
    with pytest.raises(credential_helpers.HelperFailure, match="it failed"):
        credential_helpers.get("bad", "h.example", CancelToken())
    with pytest.raises(credential_helpers.HelperFailure, match="it failed"):
        credential_helpers.erase("bad", "h.example")


def test_erasing_missing_credentials_is_not_an_error(install: Install) -> None:
    """If the message is not recognised, ``get`` tells whether there are credentials."""
    script = """#!/bin/sh
    case $1 in
        get) echo 'credentials not found in native keychain' ;;
        *) echo 'the thing is gone' ;;
    esac
    exit 1"""
    install("odd", script)
    assert not credential_helpers.erase("odd", "h.example")
    install("deaf", '#!/bin/sh\n[ $1 = get ] && echo \'{"Username":"me","Secret":"pw"}\'')
    with pytest.raises(credential_helpers.HelperFailure, match="it failed"):
        credential_helpers.erase("deaf", "h.example")


def test_a_helper_may_write_much_to_stderr(install: Install) -> None:
    install("loud", '#!/bin/sh\nyes | head -c 300000 >&2\necho \'{"Username":"me","Secret":"p"}\'')
    assert get("loud") == Credentials("me", "p")


def test_a_secret_that_is_not_utf8_is_refused(install: Install) -> None:
    install("latin", '#!/bin/sh\nprintf \'{"Username":"me","Secret":"p\\344"}\'')
    found = get("latin")
    assert found is not None
    assert base64.b64decode(found.basic.removeprefix("Basic ")) == b"me:p\xe4"
    install("box")
    with pytest.raises(credential_helpers.HelperFailure, match="UTF-8 only"):
        credential_helpers.store("box", "h.example", found)


# Their order among the files


def user(store: CredentialStore, host: str = "h.example", path: str = "o/r") -> str | None:
    found = store.find(host, path)
    return None if found is None else found.username


def test_a_helper_for_the_host_comes_before_entries(install: Install, tmp_path: Path) -> None:
    there = install("box")
    content = {"credHelpers": {"h.example": "box"}, "auths": {"h.example": entry("file")}}
    file = written(tmp_path / "auth.json", content)
    assert user(CredentialStore([file])) == "file"
    credential_helpers.store("box", "h.example", Credentials("helper", "pw"))
    assert user(CredentialStore([file])) == "helper"
    assert user(CredentialStore([file]), "other.example") is None
    assert (there / "calls").read_text().count("get ") == 2


def test_creds_store_counts_only_in_dockers_own_file(install: Install, tmp_path: Path) -> None:
    install("box")
    credential_helpers.store("box", "h.example", Credentials("helper", "pw"))
    content = {"credsStore": "box", "auths": {"h.example": {}}}
    assert user(CredentialStore([written(tmp_path / "config.json", content)])) == "helper"
    assert user(CredentialStore([written(tmp_path / "auth.json", content)])) is None


def test_a_helper_for_the_host_replaces_the_one_for_all(install: Install, tmp_path: Path) -> None:
    there = install("box")
    install("none", "#!/bin/sh\necho no credentials; exit 1")
    credential_helpers.store("box", "h.example", Credentials("helper", "pw"))
    auths = {"h.example": entry("file")}
    for own, expected in (("none", "file"), ("", "file"), ("box", "helper")):
        content = {"credsStore": "box", "credHelpers": {"h.example": own}, "auths": auths}
        assert user(CredentialStore([written(tmp_path / "config.json", content)])) == expected
    assert (there / "calls").read_text().count("get ") == 1


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/"])
def test_the_helper_gets_the_key_of_docker_hub_in_the_file(
    install: Install, tmp_path: Path, key: str
) -> None:
    install("box")
    credential_helpers.store("box", key, Credentials("hub", "pw"))
    file = written(tmp_path / "auth.json", {"credHelpers": {key: "box"}})
    assert user(CredentialStore([file]), "docker.io") == "hub"


def test_creds_store_has_docker_hub_under_its_url(install: Install, tmp_path: Path) -> None:
    install("box")
    credential_helpers.store("box", "https://index.docker.io/v1/", Credentials("hub", "pw"))
    file = written(tmp_path / "config.json", {"credsStore": "box"})
    assert user(CredentialStore([file]), "docker.io") == "hub"


def test_a_helper_that_fails_is_skipped_and_reported(install: Install, tmp_path: Path) -> None:
    install("bad", "#!/bin/sh\necho keyring is locked; exit 1")
    first = written(tmp_path / "config.json", {"credsStore": "bad"})
    second = written(tmp_path / "auth.json", {"auths": {"h.example": entry("second")}})
    store = CredentialStore([first, second])
    assert user(store) == "second"
    (failed,) = [place for place in store.look_up("h.example", "o/r") if place.failed]
    assert "keyring is locked" in failed.outcome
    assert user(CredentialStore([first])) is None


def test_a_helper_runs_once_until_its_credentials_are_refused(
    install: Install, tmp_path: Path
) -> None:
    there = install("box")
    credential_helpers.store("box", "h.example", Credentials("one", "pw"))
    store = CredentialStore(
        [written(tmp_path / "auth.json", {"credHelpers": {"h.example": "box"}})]
    )
    assert [user(store) for _ in range(3)] == ["one"] * 3
    assert (there / "calls").read_text().count("get ") == 1
    credential_helpers.store("box", "h.example", Credentials("two", "pw"))
    assert user(store) == "one"
    store.forget()
    assert user(store) == "two"


def test_helpers_in_registries_conf(install: Install, tmp_path: Path) -> None:
    """containers-registries.conf(5), credential-helpers: "containers-auth.json" means the files."""
    install("box")
    credential_helpers.store("box", "h.example", Credentials("helper", "pw"))
    file = written(tmp_path / "auth.json", {"auths": {"h.example": entry("file")}})
    for listed, expected in [
        (None, "file"),
        (["containers-auth.json", "box"], "file"),
        (["box", "containers-auth.json"], "helper"),
        (["box"], "helper"),
        ([], None),
    ]:
        assert user(CredentialStore([file], None, lambda listed=listed: listed)) == expected  # type: ignore[misc]


def test_dockercfg_has_hosts_at_the_top_level(tmp_path: Path) -> None:
    auths = {"https://h.example/v1/": entry("old"), "x": "y"}
    assert user(CredentialStore([written(tmp_path / ".dockercfg", auths)])) == "old"
    assert user(CredentialStore([written(tmp_path / "auth.json", auths)])) is None


def test_names_and_passwords_without_base64(tmp_path: Path) -> None:
    auths = {"h.example": {"username": "me", "password": "pw"}, "x": {"password": "pw"}}
    file = written(tmp_path / "config.json", {"auths": auths})
    assert CredentialStore([file]).find("h.example", "p") == Credentials("me", "pw")
    assert CredentialStore([file]).find("x", "p") is None


def test_lookups_name_the_places_and_show_no_secret(install: Install, tmp_path: Path) -> None:
    install("box")
    credential_helpers.store("box", "h.example", Credentials("helper", "topsecret"))
    file = written(tmp_path / "config.json", {"credsStore": "box"})
    store = CredentialStore([tmp_path / "none.json", file], Credentials("fixed", "topsecret"))
    trail = store.look_up("h.example", "o/r", own=False)
    assert [place.place for place in trail] == [
        "--creds", str(tmp_path / "none.json"), f"docker-credential-box ({file})"
    ]  # fmt: skip
    assert "topsecret" not in repr(trail)
    assert trail[-1].credentials == Credentials("helper", "topsecret")


def test_helpers_run_only_if_a_file_names_them(tmp_path: Path) -> None:
    file = written(tmp_path / "config.json", {"credHelpers": {"h.example": "no-such-helper"}})
    store = CredentialStore([file])
    assert user(store, "other.example") is None
    assert not any(place.failed for place in store.look_up("other.example", "o/r"))
    assert user(store) is None
    (failed,) = [place for place in store.look_up("h.example", "o/r") if place.failed]
    assert "no such program" in failed.outcome
    assert not isinstance(failed, WherryError)
