"""Lone surrogates in JSON, arguments and files, which UTF-8 cannot encode."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from wherry.errors import WherryError
from wherry.registry.auth.challenge import make_token_request, parse_challenges
from wherry.registry.auth.credentials import Credentials
from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client

LONE = ["\ud800", "\udfff", "\udc80", "a\udcffb"]
TEXTS = ["username", "password", "identitytoken", "auth", "key", "helper", "helper's host"]


def is_argument(text: str) -> bool:
    """Tell whether a process can have a text as an argument: its surrogates stand for bytes."""
    return all("\udc80" <= each <= "\udcff" for each in text if "\ud800" <= each <= "\udfff")


def auth_file(place: str, lone: str, host: str) -> dict[str, object]:
    entry = {"username": "u", "password": "p"}
    if place == "key":
        return {"auths": {lone: entry, host: entry}}
    if place == "helper":
        return {"credHelpers": {host: lone}}
    if place == "helper's host":
        return {"credHelpers": {lone: "box", host: "box"}}
    return {"auths": {host: entry | {place: lone}}}


@pytest.mark.parametrize("lone", LONE, ids=ascii)
@pytest.mark.parametrize("place", TEXTS)
def test_auth_files(
    place: str, lone: str, wherry: Wherry, tmp_path: Path, helper_program: Callable[..., Path]
) -> None:
    helper_program("box")
    path = tmp_path / "auth.json"
    with FakeRegistry(users={"u": "p"}) as fake:
        fake.add_image("app", build_image([tar_layer({"a": b"1"})]), "t")
        path.write_text(json.dumps(auth_file(place, lone, fake.host)))
        for command in (
            ["why", f"{fake.host}/app"],
            ["digest", f"{fake.host}/app:t"],
            ["logout", "--all"],
        ):
            done = wherry(*command, env={"REGISTRY_AUTH_FILE": str(path), "PYTHONUTF8": "1"})
            assert done.returncode in {0, 1, 3, 4, 6}
            assert "internal error" not in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("field", ["Username", "Secret", "ServerURL"])
@pytest.mark.parametrize("lone", LONE, ids=ascii)
def test_answers_of_helpers(
    field: str, lone: str, wherry: Wherry, tmp_path: Path, helper_program: Callable[..., Path]
) -> None:
    answer = tmp_path / "answer"
    answer.write_text(
        json.dumps({"ServerURL": "x", "Username": "u", "Secret": "p"} | {field: lone})
    )
    helper_program("odd", f"#!/bin/sh\ncat >/dev/null\ncat '{answer}'\n")
    path = tmp_path / "auth.json"
    with FakeRegistry(users={"u": "p"}, tokens=True) as fake:
        path.write_text(json.dumps({"credHelpers": {fake.host: "odd"}}))
        done = wherry("digest", f"{fake.host}/app:t", env={"REGISTRY_AUTH_FILE": str(path)})
    assert done.returncode in {3, 4}
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("lone", LONE, ids=ascii)
def test_credentials_of_programs(lone: str) -> None:
    basic = Credentials(lone, lone).basic
    assert base64.b64decode(basic.removeprefix("Basic "))
    (challenge,) = parse_challenges(['Bearer realm="http://x.example/t",service="s"'])
    assert make_token_request(challenge, ["a"], Credentials(lone, lone)).url.isascii()
    assert make_token_request(challenge, ["a"], Credentials(identity_token=lone)).body


@pytest.mark.parametrize("lone", [text for text in LONE if is_argument(text)], ids=ascii)
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "LONE"],
        ["inspect", "oci:LONE"],
        ["inspect", "docker-archive:LONE:LONE"],
        ["images", "--filter", "label=LONE"],
        ["images", "--filter", "reference=LONE"],
        ["images", "--format", "LONE"],
        ["images", "LONE"],
        ["tags", "--filter", "LONE", "x.invalid/a"],
        ["show", "LONE"],
        ["tag", "LONE", "LONE"],
        ["load", "-i", "LONE"],
        ["import", "-m", "LONE", "/dev/null", "a:1"],
        ["import", "-c", "LABEL a=LONE", "/dev/null", "a:1"],
        ["why", "--offline", "--authfile", "LONE", "x.invalid/a"],
        ["--store", "LONE", "images"],
        ["pull", "--creds", "LONE:LONE", "127.0.0.1:1/a"],
        ["logout", "LONE"],
    ],
    ids=" ".join,
)
def test_arguments(command: list[str], lone: str, wherry: Wherry) -> None:
    done = wherry(*(word.replace("LONE", lone) for word in command), env={"WHERRY_RETRIES": "1"})
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("lone", LONE, ids=ascii)
def test_documents(lone: str, client: Client, fake: FakeRegistry, wherry: Wherry) -> None:
    built = build_image(
        [tar_layer({"a": b"1"})],
        labels={"LONE": "LONE"},
        env=["A=LONE"],
        history=[{"created_by": "LONE", "comment": "LONE"}],
        config_extra={"author": "LONE"},
        manifest_extra={"annotations": {"a": "LONE"}},
    )
    escaped = json.dumps(lone)[1:-1].encode()
    config = built.config.data.replace(b"LONE", escaped)
    manifest = json.loads(built.manifest.data.replace(b"LONE", escaped))
    manifest["config"] |= {"digest": fake.add_blob(config), "size": len(config)}
    fake.add_blob(built.layers[0].data)
    fake.add_manifest("app", json.dumps(manifest).encode(), built.manifest.media_type, "t")
    name = f"{fake.host}/app:t"
    for call in (client.inspect, client.history, client.validate, client.pull):
        try:
            call(name)
        except WherryError:
            continue
    for command in (["inspect", name], ["history", name], ["config", name], ["show", name]):
        done = wherry(*command)
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
