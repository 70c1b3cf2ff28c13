"""Closing a client ends what runs, and a closed client says that it is."""

from __future__ import annotations

import concurrent.futures
import inspect
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from public_api import functions_of
from waiting import wait_for
from wherry.testing import (
    Delay,
    FakeRegistry,
    Fault,
    Stall,
    build_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("environment")
IMAGE = build_image([tar_layer(pseudo_random_files(n, 300_000, 2)) for n in range(3)])
PATIENCE = 20.0
LONG = 600.0  # seconds that a call waits for an answer if nothing ends it
CALLS = [
    *("pull", "pull_all_tags", "validate", "inspect", "platforms", "tags", "digest", "manifest"),
    *("config", "history", "referrers", "save", "login", "why", "lock", "pin"),
]


def begin(client: wherry.Client, name: str, call: str, directory: Path) -> Any:
    address = name if call not in {"tags", "pull_all_tags"} else name.removesuffix(":t")
    match call:
        case "save":
            return client.save(f"docker://{name}", directory / "a.tar")
        case "lock":
            (directory / "images.toml").write_text(f'[[images]]\nsource = "{name}"')
            return client.lock(directory / "images.toml")
        case "pin":
            (directory / "Dockerfile").write_text(f"FROM {name}")
            return client.pin(directory / "Dockerfile")
        case "login":
            return client.login(name.partition("/")[0], "me", "secret")
        case _:
            return getattr(client, call)(address)


@pytest.mark.parametrize("call", CALLS)
def test_closing_ends_a_call_of_another_thread(
    fake: FakeRegistry, tmp_path: Path, call: str
) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Delay(3600)))
    client = wherry.Client(store=tmp_path / "store", timeout=LONG)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(begin, client, f"{fake.host}/app:t", call, tmp_path)
        wait_for(lambda: fake.requests)
        client.close()
        with pytest.raises(wherry.Cancelled):
            answer.result(PATIENCE)


def test_closing_ends_the_download_of_layers(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Stall(after=1000), path="/blobs/", times=3))
    begun = threading.Event()

    def listen(event: wherry.Event) -> None:
        if event.status is wherry.Status.DOWNLOADING:
            begun.set()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with wherry.Client(store=tmp_path / "store", timeout=LONG) as client:
            answer = pool.submit(client.pull, f"{fake.host}/app:t", on_event=listen)
            assert begun.wait(PATIENCE)
        with pytest.raises(wherry.Cancelled):
            answer.result(PATIENCE)
    with wherry.Client(store=tmp_path / "store") as client:
        assert client.pull(f"{fake.host}/app:t").id == IMAGE.id


def test_closing_ends_a_crowd_and_nothing_else_is_raised(
    fake: FakeRegistry, tmp_path: Path
) -> None:
    for number in range(8):
        fake.add_image(f"app{number}", build_image([tar_layer({"a": b"%d" % number})]), "t")
    client = wherry.Client(store=tmp_path / "store")
    done = threading.Semaphore(0)

    def pull(number: int) -> None:
        client.pull(f"{fake.host}/app{number % 8}:t", store=tmp_path / f"store{number % 3}")
        done.release()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(pull, number) for number in range(200)]
        for _ in range(10):
            assert done.acquire(timeout=PATIENCE)
        client.close()
        kinds = {type(answer.exception(PATIENCE)) for answer in answers}
    assert kinds <= {type(None), wherry.Cancelled, RuntimeError}


def test_a_blob_that_is_read_ends_with_its_client(fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Stall(after=1000), path="/blobs/"))
    client = wherry.Client(timeout=LONG)
    digest = wherry.Digest(IMAGE.layers[0].digest)
    with client.blob(f"{fake.host}/app", digest) as blob:
        threading.Timer(0.3, client.close).start()
        with pytest.raises(wherry.Cancelled):
            blob.read()


def test_closing_from_a_callback_ends_the_call(fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Delay(3600), path="/blobs/"))  # else the pull may end before the callback
    client = wherry.Client()
    with pytest.raises(wherry.Cancelled):
        client.pull(f"{fake.host}/app:t", on_event=lambda _event: client.close())
    client = wherry.Client(on_request=lambda _exchange: client.close())
    with pytest.raises(wherry.Cancelled):
        client.pull(f"{fake.host}/app:t")


def test_the_token_of_the_caller_is_left_alone(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", IMAGE, "t")
    cancel = wherry.CancelToken()
    with wherry.Client(store=tmp_path / "one") as client:
        client.pull(f"{fake.host}/app:t", cancel=cancel)
    assert not cancel.cancelled
    assert not cancel._wakers  # noqa: SLF001 - nothing is left behind in it
    cancel.cancel()
    with wherry.Client(store=tmp_path / "two") as client, pytest.raises(wherry.Cancelled):
        client.pull(f"{fake.host}/app:t", cancel=cancel)


def planned(fake: FakeRegistry) -> wherry.Plan:
    """Plan a copy, and forget the requests that it took."""
    fake.add_image("app", IMAGE, "t")
    with wherry.Client() as client:
        plan = client.plan_copy(f"{fake.host}/app:t", f"{fake.host}/other:t")
    fake.clear()
    return plan


def methods() -> list[str]:
    names = {function.__name__ for function in functions_of(wherry.Client)}
    return sorted(names - {"__init__", "close", "store"})


@pytest.mark.parametrize("name", methods())
def test_a_closed_client_says_that_it_is(fake: FakeRegistry, tmp_path: Path, name: str) -> None:
    client = wherry.Client(store=tmp_path / "store")
    client.close()
    client.close()
    call = getattr(client, name)
    needed = [
        parameter.name
        for parameter in inspect.signature(call).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    given: dict[str, Any] = dict.fromkeys(needed, f"{fake.host}/app:t")
    if name == "repair":
        given = {"problems": []}
    if name == "execute":
        given = {"plan": planned(fake)}
    with pytest.raises(RuntimeError, match=r"this wherry\.Client is closed: make a new one"):
        call(**given)
    assert not fake.requests


def test_a_closed_client_cannot_be_entered() -> None:
    client = wherry.Client()
    client.close()
    with pytest.raises(RuntimeError, match="closed"), client:
        pass


def test_images_outlive_their_client(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", IMAGE, "t")
    with wherry.Client(store=tmp_path / "store") as client:
        image = client.pull(f"{fake.host}/app:t")
    assert image.config.id == IMAGE.id
    assert image.store.get(f"{fake.host}/app:t") == image
    assert client.store.images() == [image]


PROGRAM = """
import sys, threading
import wherry

def pull():
    try:
        client.pull(sys.argv[1], on_event=lambda _event: begun.set())
    except wherry.Cancelled:
        print("cancelled", flush=True)

client = wherry.Client(store=sys.argv[2])
begun = threading.Event()
thread = threading.Thread(target=pull, daemon={daemon})
thread.start()
begun.wait()
{end}
"""


@pytest.mark.parametrize(
    ("daemon", "end", "said"),
    [
        (True, "", ""),
        (False, "client.close()", "cancelled"),
        (False, "with client: pass", "cancelled"),
        (True, "client.close(); thread.join()", "cancelled"),
    ],
)
def test_the_interpreter_ends(
    fake: FakeRegistry, tmp_path: Path, end: str, said: str, *, daemon: bool
) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Stall(after=1000), path="/blobs/", times=100))
    program = PROGRAM.format(daemon=daemon, end=end)
    command = [sys.executable, "-c", program, f"{fake.host}/app:t", str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")
