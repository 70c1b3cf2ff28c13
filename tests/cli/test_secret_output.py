"""Passwords and tokens appear in no output, not even with ``-v`` and ``--debug``."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest

from command_images import IMAGE
from wherry.testing import (
    Corrupt,
    FakeRegistry,
    Fault,
    FixedReply,
    Replace,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry

PASSWORD = "p@ss: wörd/1"


def forms_of(user: str, password: str) -> list[str]:
    """Return the forms in which a password could appear in output."""
    raw = password.encode()
    pair = f"{user}:{password}".encode()
    encoded = [base64.b64encode(data).decode().rstrip("=") for data in (raw, pair)]
    return [password, quote(password), quote(password, safe=""), quote_plus(password),
            json.dumps(password)[1:-1], repr(password)[1:-1], raw.hex(), *encoded]  # fmt: skip


def no_secret(done: subprocess.CompletedProcess[str], *secrets: str) -> None:
    for secret in secrets:
        assert secret
        assert secret not in done.stdout
        assert secret not in done.stderr


def scenarios() -> dict[str, Callable[[FakeRegistry], None]]:
    def nothing(_: FakeRegistry) -> None:
        return

    def answer(action: FixedReply | Replace | Corrupt, path: str) -> Callable[[FakeRegistry], None]:
        def inject(registry: FakeRegistry) -> None:
            registry.inject(Fault(action, path=path))
            if registry.storage is not None:
                registry.storage.inject(Fault(action, path=path))

        return inject

    return {
        "good": nothing,
        "server-error": answer(FixedReply(500), "/manifests/sha256:"),
        "denied": answer(FixedReply(403), "/blobs/"),
        "no-token": answer(Replace(b"not json"), "/token"),
        "token-server-fails": answer(FixedReply(500), "/token"),
        "corrupt": answer(Corrupt(at=3), IMAGE.layers[0].digest),
    }


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
@pytest.mark.parametrize("scenario", [*scenarios(), "wrong"])
def test_the_password_is_never_shown(wherry: Wherry, scenario: str, *, tokens: bool) -> None:
    given = PASSWORD if scenario != "wrong" else PASSWORD + "-wrong"
    with FakeRegistry(users={"me": PASSWORD}, tokens=tokens, redirect_blobs_to=True) as registry:
        registry.add_image("app", IMAGE, "t")
        if scenario in scenarios():
            scenarios()[scenario](registry)
        done = wherry(
            "--debug", "-v", "pull", "--retries=1", "--creds", f"me:{given}",
            f"{registry.host}/app:t",
        )  # fmt: skip
        sent = {r.headers.get("authorization", "") for r in registry.requests} - {""}
    # The password, and a token if there is one, were really sent.
    assert any(header.startswith("Basic ") for header in sent)
    no_secret(done, *forms_of("me", given))
    no_secret(done, *(header.split()[1] for header in sent))
    no_secret(done, "X-Signature")
    codes = {"good": 0, "server-error": 1, "denied": 4, "corrupt": 5, "wrong": 4}
    if scenario in codes:
        assert done.returncode == codes[scenario]
    assert done.stderr  # otherwise the test searches nothing


def test_a_password_in_a_file_is_never_shown(wherry: Wherry, tmp_path: Path) -> None:
    with FakeRegistry(users={"me": "another"}) as registry:
        pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 4
        no_secret(done, *forms_of("me", PASSWORD), pair)
        file.write_text(json.dumps({"auths": {registry.host: {"auth": PASSWORD}}}))
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 1
        no_secret(done, *forms_of("me", PASSWORD))
        file.write_text('{"auths": "' + PASSWORD)
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 1
        no_secret(done, *forms_of("me", PASSWORD))


def test_an_identity_token_is_never_shown(wherry: Wherry, tmp_path: Path) -> None:
    secret = "identity-token-of-a-user"
    for known in (True, False):
        refresh = {secret: "me"} if known else {}
        with FakeRegistry(users={}, tokens=True, refresh_tokens=refresh) as registry:
            registry.add_image("app", IMAGE, "t")
            file = tmp_path / "auth.json"
            file.write_text(json.dumps({"auths": {registry.host: {"identitytoken": secret}}}))
            done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
            assert any(secret.encode() in request.body for request in registry.requests)
        assert done.returncode == (0 if known else 4), done.stderr
        no_secret(done, secret)


def test_a_password_prompt_without_a_terminal(wherry: Wherry, name: str) -> None:
    # There is no terminal for the prompt: the command must neither hang nor crash.
    done = wherry("pull", "--creds", "me", name, timeout=10)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
