"""Transfer options and their variables."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.config import parse_rate, transfer_settings
from wherry.model.transfer_settings import TransferSettings
from wherry.testing import FakeRegistry, Fault, FixedReply, SetHeader, Stall, build_image, tar_layer

if TYPE_CHECKING:
    from conftest import Wherry

NOISE = Random(5).randbytes(400_000)  # noqa: S311 - not a secret
IMAGE = build_image([tar_layer({"noise": NOISE})], compression="none")


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1", 1),
        ("500000", 5e5),
        ("500K", 5e5),
        ("1.5M", 1.5e6),
        ("10m", 10e6),
        ("2G", 2e9),
        ("64Ki", 65536),
        ("10MiB", 10 * 2**20),
        ("10MB/s", 10e6),
        (" 7k ", 7000),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


def test_control_characters_from_a_registry_are_replaced(
    wherry: Wherry, fake: FakeRegistry, name: str
) -> None:
    fake.inject(Fault(SetHeader("RateLimit-Remaining", "\x1b]0;me\x07 5"), path="/manifests/"))
    done = wherry("-v", "digest", name)
    assert done.returncode == 0
    assert " 5 requests left" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("text", ["", "fast", "M", "-1", "1i", "1.M", "1 0", "1e6", "10Mbit", "٣"])
def test_invalid_rates(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        parse_rate(text)


def test_defaults_of_transfer_options() -> None:
    assert transfer_settings({"WHERRY_JOBS": "", "JOBS": "3"}) == TransferSettings()


def test_variables_of_transfer_options() -> None:
    found = transfer_settings(
        {
            "WHERRY_JOBS": "3",
            "WHERRY_TIMEOUT": "2.5",
            "WHERRY_RETRIES": "9",
            "WHERRY_LIMIT_RATE": "10M",
            "WHERRY_SPLIT": "2",
            "WHERRY_INSECURE": "1",
            "WHERRY_LEGACY": "yes",
        }
    )
    assert found == TransferSettings(3, 2.5, 9, 10e6, 2, insecure=True, legacy=True)
    assert found.override(jobs=4, insecure=False, split=None) == found.replace(
        jobs=4, insecure=False
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WHERRY_JOBS", "0"),
        ("WHERRY_JOBS", "many"),
        ("WHERRY_TIMEOUT", "0"),
        ("WHERRY_TIMEOUT", "nan"),
        ("WHERRY_RETRIES", "1.5"),
        ("WHERRY_LIMIT_RATE", "0"),
        ("WHERRY_LIMIT_RATE", "10Q"),
        ("WHERRY_SPLIT", "17"),
        ("WHERRY_INSECURE", "perhaps"),
        ("WHERRY_LEGACY", "2"),
    ],
)
def test_an_invalid_variable_is_a_usage_error(wherry: Wherry, variable: str, text: str) -> None:
    done = wherry("pull", "alpine", env={variable: text})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: {variable} is '{text}': ")


def test_an_option_takes_precedence_over_its_variable(
    wherry: Wherry, name: str, fake: FakeRegistry
) -> None:
    fault = fake.inject(Fault(FixedReply(503), path="/blobs/", times=5))
    assert wherry("pull", "-q", "--retries=1", name, env={"WHERRY_RETRIES": "9"}).returncode == 1
    fault.times = 0
    assert wherry("pull", "-q", name, env={"WHERRY_RETRIES": "1"}).returncode == 0


def test_the_variable_for_attempts(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    fault = fake.inject(Fault(FixedReply(503), path="/manifests/"))
    assert wherry("pull", "-q", name, env={"WHERRY_RETRIES": "2"}).returncode == 1
    assert fault.count == 2


def test_the_variable_for_the_timeout(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    fault = fake.inject(Fault(Stall(after=1000), path=IMAGE.layers[0].digest, times=1))
    assert wherry("pull", "-q", name, env={"WHERRY_TIMEOUT": "1.5"}).returncode == 0
    assert fault.count == 1


@pytest.mark.parametrize("option", [["--limit-rate=400K"], []])
def test_a_rate_limit_applies_to_all_commands(wherry: Wherry, name: str, option: list[str]) -> None:
    started = time.monotonic()
    done = wherry("pull", "-q", *option, name, env={} if option else {"WHERRY_LIMIT_RATE": "400K"})
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started >= 0.8


def test_a_limited_pull_does_not_count_as_stalled(name: str, store: library.Store) -> None:
    with library.Client(store=store, limit_rate=200_000, timeout=1.5, retries=1) as client:
        assert str(client.pull(name).id) == IMAGE.id
