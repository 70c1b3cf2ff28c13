"""Wrong arguments are refused where they are given, before the call does anything."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from public_api import functions_of
from running_threads import begun_since, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry.testing import FakeRegistry

pytestmark = pytest.mark.usefixtures("environment")

TEXTS = [5, b"alpine", ["alpine"], ("alpine",), {"alpine": 1}, True]
FLAGS = ["no", "", 1, 0, [True]]
CHOICES = ["tar", "OCI", "", 5, ["name"]]
NUMBERS = ["6", [6], True, -1, 0]
WRONG: dict[str, list[Any]] = {
    "changes": ["ENV A=1", 5, [5], b"ENV A=1"],
    "include": ["etc", 5, [5], b"etc"],
    "exclude": ["etc", 5, [5], b"etc"],
    "layer": [True, "1", 1.5],
    "strip_components": [True, "1", 1.5, -1],
    "uid_map": ["0:1:1", 5, [5], [(0, 1)], [("0", "1", "1")], [(0, 1, 0)], [(-1, 0, 1)]],
    "gid_map": ["0:1:1", 5, [5], [(0, 1)], [("0", "1", "1")], [(0, 1, 0)], [(0, 2**32, 1)]],
    "created": ["0", [0], True, -1, 1.5],
    "cancel": [True, threading.Event(), wherry.CancelToken],
    "config": ["{}", {}, bytearray(b"{}")],
    "credentials": ["me:secret", ("me",), ("a", "b", "c"), ("me", None), {"me": "secret"}, 5],
    "files": [5, [], [5], b"a", "", ["a", ""]],
    "format": CHOICES,
    "jobs": [*NUMBERS, 1.5],
    "labels": ["a=b", ["a"], {"a": 1}, {1: "a"}],
    "limit_rate": [*NUMBERS, float("nan"), float("inf")],
    "limits": [5, {"raw": 1}],
    "locked": [5, ["a"], b"a", ""],
    "names": [5, [], (), b"alpine", [5], ["alpine", None], {"alpine": 1}, iter(["alpine"])],
    "order": CHOICES,
    "output": [5, ["a.tar"], b"a.tar", ""],
    "plan": TEXTS,
    "platform": [5, ["linux/amd64"], b"linux/amd64", ("linux", "amd64"), {"os": "linux"}],
    "problems": [5, "alpine", [5], ["sha256:"]],
    "proxies": ["docker.io", 5, [5], b"docker.io"],
    "proxy_ttl": ["6", [6], True, -1],
    "retries": [*NUMBERS, 1.5],
    "schema1": CHOICES,
    "source": [5, ["a.tar"], b"a.tar", ""],
    "split": [*NUMBERS, 1.5, 10_000],
    "store": [5, ["a"], b"a", ""],
    "tls": [5, "ab", ["cert.pem"], [5, 6], ["cert.pem", ""], (b"c", b"k")],
    "upgrade": ["alpine", 5, [5], b"alpine"],
    "timeout": [*NUMBERS, float("nan"), float("inf")],
}
for names, values in (
    ("authfile directory file htpasswd lock_file path registries_conf", [5, ["a"], b"a", ""]),
    (
        "address artifact_type before destination image listen matching message name origin",
        TEXTS,
    ),
    ("parent password patterns", TEXTS),
    ("reference registry since username", TEXTS),
    ("all_platforms check dangling dry_run force foreign insecure legacy offline tags", FLAGS),
    ("read_only ui verify_signatures", FLAGS),
    ("bundle keep_dirlinks keep_owners replace rootless untag v1 verify_layers", FLAGS),
    ("max_files max_size", [*NUMBERS, 1.5]),
    ("on_access on_event on_failure on_progress on_ready on_request on_warning", [5, "print"]),
    ("digest", [5, b"sha256:", ["sha256:"]]),
    ("cache", [5, True, "all"]),
):
    WRONG |= dict.fromkeys(names.split(), values)
# Good values of the parameters that have to be given.
DIGEST = wherry.Digest.of(b"")
GOOD: dict[str, Any] = {
    "file": "compose.yaml",
    "directory": "rootfs",
    "names": "alpine",
    "output": "a.tar",
    "problems": [],
    "source": "a.tar",
}
GOOD["digest"] = DIGEST


def calls() -> list[tuple[str, Callable[..., Any]]]:
    """Return all public calls: methods under the name of their class."""
    methods = [
        (kind.__name__, function)
        for kind in (wherry.Client, wherry.Store)
        for function in functions_of(kind)
    ]
    return [("pull", inspect.unwrap(wherry.pull)), *methods]


def parameters() -> list[tuple[str, str, inspect.Parameter]]:
    """Return each parameter of each public call."""
    return [
        (owner, function.__name__, parameter)
        for owner, function in calls()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]


def called(owner: str, name: str, given: dict[str, Any], fake: FakeRegistry, path: Path) -> None:
    """Make a call with good values for all other parameters that it needs."""
    call: Any = wherry.pull
    if name == "__init__":
        call = getattr(wherry, owner)
    elif owner != "pull":
        call = getattr(wherry.Client(store=path) if owner == "Client" else wherry.Store(path), name)
    for parameter in inspect.signature(call).parameters.values():
        missing = parameter.default is parameter.empty and parameter.name not in given
        if missing and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            typed = "Reference" in str(parameter.annotation)
            text = f"{fake.host}/team/app:t"
            good = wherry.Reference.parse(text) if typed else text
            given[parameter.name] = GOOD.get(parameter.name, good)
    if "patterns" in given:
        call(given.pop("patterns"), **given)
    else:
        call(**given)


@pytest.mark.parametrize(
    ("owner", "name", "parameter"), parameters(), ids=lambda part: str(part).partition(":")[0]
)
def test_a_wrong_argument_is_refused_before_anything_is_done(
    fake: FakeRegistry, tmp_path: Path, owner: str, name: str, parameter: inspect.Parameter
) -> None:
    files, threads = sorted(tmp_path.rglob("*")), running()
    wrong = [object(), *WRONG[parameter.name]]
    if parameter.default is not None:
        wrong.append(None)
    for value in wrong:
        with pytest.raises((TypeError, ValueError)) as caught:
            called(owner, name, {parameter.name: value}, fake, tmp_path / "store")
        message = str(caught.value)
        assert parameter.name in message
        assert "\n" not in message
        assert "secret" not in message
    assert not fake.requests
    assert sorted(tmp_path.rglob("*")) == files
    assert not begun_since(threads)


def test_good_values_of_every_kind_are_taken(tmp_path: Path) -> None:
    class Text(str):
        __slots__ = ()

    listed: Any = ["me", "secret"]  # as JSON has pairs
    client = wherry.Client(
        store=Text(tmp_path / "store"), credentials=listed, jobs=2, timeout=1, split=None
    )
    store = client.store
    assert store.images(Text("a*"), labels={"a": None}, dangling=None) == []
    assert client.repair(iter([])).left == []
    assert store.gc(dry_run=True).parts == 0


CREDENTIALS = (
    "credentials must be a pair of str, the user and the password, or a mapping of hosts to pairs"
)


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("store must be a wherry.Store or a path, not int", {"store": 5}),
        (CREDENTIALS, {"credentials": ("a",)}),
        (CREDENTIALS, {"credentials": {"ghcr.io": "me:secret"}}),
        (f"{CREDENTIALS}, not str", {"credentials": "me:secret"}),
        ("schema1 must be 'allow' or 'deny', not 'no'", {"schema1": "no"}),
        ("foreign must be True or False, not None", {"foreign": None}),
        ("jobs must be an int, not bool", {"jobs": True}),
        ("jobs must be at least 1", {"jobs": 0}),
    ],
)
def test_the_message_names_the_argument_and_what_is_allowed(
    message: str, given: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        wherry.Client(**given)
    assert str(caught.value) == message


def test_a_wrong_filter_is_refused_before_the_registry_is_asked(fake: FakeRegistry) -> None:
    with wherry.Client() as client:
        for matching in ("[", "semver:1..2", ">=nothing"):
            with pytest.raises(wherry.InvalidReference):
                client.tags(f"{fake.host}/team/app", matching=matching)
        with pytest.raises(wherry.InvalidReference):
            client.pull(f"{fake.host}/team/app", platform="linux/")
        with pytest.raises(wherry.InvalidDigest):
            client.blob(f"{fake.host}/team/app", "sha256:")
    assert not fake.requests


@pytest.mark.parametrize(
    "call",
    [
        wherry.Reference.parse,
        wherry.Reference.parse_name,
        wherry.Reference.parse_new,
        wherry.Reference.parse("alpine").with_tag,
        wherry.Digest,
        wherry.Digest.parse,
        wherry.Platform.parse,
    ],
)
@pytest.mark.parametrize("wrong", [None, 5, b"alpine", ["alpine"]])
def test_values_are_made_of_text_alone(call: Callable[[Any], object], wrong: object) -> None:
    with pytest.raises(TypeError, match=r"^(text|tag) must be a str, not \w+$"):
        call(wrong)


def test_what_completes_a_value_is_checked() -> None:
    with pytest.raises(TypeError, match=r"^digest must be a wherry.Digest, not str$"):
        wherry.Reference.parse("alpine").with_digest(str(DIGEST))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^default must be a wherry.Platform, not str$"):
        wherry.Platform.parse("linux", "linux/amd64")  # type: ignore[arg-type]
