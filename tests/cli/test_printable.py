"""Control characters in images and responses do not reach the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from command_images import TARS
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
)

if TYPE_CHECKING:
    from conftest import Wherry


def test_control_characters_in_an_image_are_replaced(wherry: Wherry, fake: FakeRegistry) -> None:
    evil = build_image(
        [TARS[0]],
        labels={"x": "\x1b[31mred\x07\r\nnext"},
        env=["E=\x1b]0;title\x07"],
        history=[{"created_by": "\x1b[2J"}],
        config_extra={"author": "\x1b[1m\u202e"},
    )
    fake.add_image("evil", evil, "t")
    wherry("pull", "-q", f"{fake.host}/evil:t")
    for arguments in (["show", f"{fake.host}/evil:t"], ["images"]):
        done = wherry(*arguments)
        assert done.returncode == 0, done.stderr
        assert all(c.isprintable() or c == "\n" for c in done.stdout)


def test_control_characters_in_an_error_are_replaced(
    wherry: Wherry, name: str, fake: FakeRegistry
) -> None:
    said = {"errors": [{"code": "DENIED\x1b[31m", "message": "no\x1b]0;x\x07\nsecond line"}]}
    fake.inject(Fault(FixedReply(403, body=json.dumps(said).encode())))
    done = wherry("pull", "-q", name)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert all(c.isprintable() or c == "\n" for c in done.stderr)
