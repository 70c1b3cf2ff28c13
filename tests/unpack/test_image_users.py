"""Looking up the user of a container in the files of its image."""

from __future__ import annotations

import pytest

from wherry.errors import NotFound
from wherry.unpack.image_users import ContainerUser, find_user

PASSWD = b"""\
root:x:0:0::/root:/bin/sh
# a comment
no number:x:y:z::/:
negative:x:-1:-1::/:
large:x:4294967296:0::/:

app:x:1000:1001:App:/home/app:/bin/sh
short:x:7:8
app:x:5:5::/other:
\xff\xfe:x:9:9::/bytes:
"""
GROUP = b"""\
root:x:0:
wheel:x:10:root,other
app:x:1001:
broken:x:number:app
extra:x:20:other,app
more:x:21:app
twice:x:20:app
"""
APP = ContainerUser(1000, 1001, (20, 21), "/home/app")
ROOT = ContainerUser(0, 0, (10,), "/root")


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", ROOT),
        ("0", ROOT),
        ("root", ROOT),
        ("app", APP),
        ("1000", APP),
        ("app:extra", APP.replace(gid=20, groups=())),
        ("app:33", APP.replace(gid=33, groups=())),
        ("1000:wheel", APP.replace(gid=10, groups=())),
        ("77", ContainerUser(77, 0)),
        ("77:88", ContainerUser(77, 88)),
        (":extra", ROOT.replace(gid=20, groups=())),
        ("short", ContainerUser(7, 8)),
    ],
)
def test_users(text: str, user: ContainerUser) -> None:
    assert find_user(text, PASSWD, GROUP) == user


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nobody", "no user 'nobody' in /etc/passwd"),
        ("negative", "no user 'negative'"),
        ("no number", "no user 'no number'"),
        ("large", "no user 'large'"),
        ("4294967296", "no user '4294967296'"),
        ("9" * 5000, "no user"),
        ("\u0661", "no user"),
        ("app:nobody", "no group 'nobody' in /etc/group"),
        ("app:broken", "no group 'broken'"),
        ("77:88:99", "no group '88:99'"),
    ],
)
def test_unknown_names(text: str, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        find_user(text, PASSWD, GROUP)


def test_an_image_without_files() -> None:
    assert find_user("", b"", b"") == ContainerUser()
    assert find_user("5:6", b"", b"") == ContainerUser(5, 6)
    with pytest.raises(NotFound, match="no user 'root'"):
        find_user("root", b"", b"")
