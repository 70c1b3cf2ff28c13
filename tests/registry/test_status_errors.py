"""Errors made of responses: classes, fields, quoted messages, ``Retry-After``."""

import datetime as dt
import email.utils
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wherry.content.cancel import CancelToken
from wherry.errors import (
    Denied,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
    WherryError,
)
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.registry.status_errors import MAX_ERROR, error_for_response, retry_after
from wherry.testing import FakeRegistry, Fault, FixedReply

QUICK = settings(max_examples=150, deadline=None)


class FailingRegistry:
    """A registry that sends given responses, and the errors made of them."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        self._transport = Transport(connections=1)

    def __call__(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> WherryError:
        self._registry.inject(Fault(FixedReply(status, headers or {}, body), times=1))
        url = f"http://{self._registry.host}/v2/o/r/manifests/latest"
        response = self._transport.send(HttpRequest("GET", url), CancelToken())
        assert response.status == status
        found = response.read(MAX_ERROR)
        return error_for_response(
            response, found, ("o/r:latest",), "host.example", scope="repository:o/r:pull"
        )


@pytest.fixture(scope="module")
def asking() -> Iterator[FailingRegistry]:
    with FakeRegistry() as registry:
        yield FailingRegistry(registry)


def errors(*entries: Any) -> bytes:
    return json.dumps({"errors": list(entries)}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (400, RegistryError, False),
        (401, Unauthorized, False),
        (402, RegistryError, False),
        (403, Denied, False),
        (404, NotFound, False),
        (405, RegistryError, False),
        (408, RegistryError, True),
        (409, RegistryError, False),
        (410, RegistryError, False),
        (416, RegistryError, False),
        (418, RegistryError, False),
        (425, RegistryError, True),
        (429, RateLimited, True),
        (500, RegistryError, True),
        (501, RegistryError, False),
        (502, RegistryError, True),
        (503, RegistryError, True),
        (504, RegistryError, True),
        (599, RegistryError, False),
    ],
)
def test_each_status_has_an_error_class(
    asking: FailingRegistry, status: int, kind: type[WherryError], *, transient: bool
) -> None:
    """408, 425, 429, 500, 502, 503 and 504 are transient."""
    error = asking(status, errors({"code": "SOME_CODE", "message": "some words"}))
    assert type(error) is kind
    assert error.transient is transient
    assert "o/r:latest" in str(error)
    assert f"{status} SOME_CODE: some words" in str(error)


def test_the_facts_are_in_the_fields(asking: FailingRegistry) -> None:
    body = errors({"code": "UNKNOWN", "message": "a"}, {"code": "DENIED"}, {"message": "b"}, 5)
    error = asking(503, body, {"Retry-After": "7"})
    assert isinstance(error, RegistryError)
    assert (error.status, error.method, error.retry_after) == (503, "GET", 7.0)
    assert error.url.endswith("/v2/o/r/manifests/latest")
    assert error.codes[:2] == ("UNKNOWN", "DENIED")
    unauthorized = asking(401)
    assert isinstance(unauthorized, Unauthorized)
    assert (unauthorized.host, unauthorized.scope) == ("host.example", "repository:o/r:pull")
    denied = asking(403)
    assert isinstance(denied, Denied)
    assert denied.host == "host.example"


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("", None), ("soon", None)])
def test_retry_after_is_a_field(asking: FailingRegistry, value: str, seconds: float | None) -> None:
    headers = {"Retry-After": value} if value else {}
    limited = asking(429, b"", headers)
    assert isinstance(limited, RateLimited)
    assert (limited.host, limited.retry_after) == ("host.example", seconds)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "404"),
        (b"<html>not found</html>", "404"),
        (errors(), "404"),
        (b'{"errors":null}', "404"),
        (b'{"errors":"x"}', "404"),
        (b'{"errors":[null,1,"x"]}', "404"),
        (b'{"errors":[{"code":1,"message":[]}]}', "404"),
        (errors({"code": "C"}), "404 C"),
        (errors({"message": "m"}), "404 m"),
        (b'{"details":"from a proxy"}', "404 from a proxy"),
        (b'{"message":"from a proxy"}', "404 from a proxy"),
        (b"[]", "404"),
        (b"null", "404"),
        (b"\xff", "404"),
        (b"[" * 50_000, "404"),
    ],
    ids=range(15),
)
def test_the_registrys_message_is_quoted(asking: FailingRegistry, body: bytes, words: str) -> None:
    gc.collect()  # objects of other tests must not be finalized during deep recursion
    assert str(asking(404, body)) == f"o/r:latest: not found ({words})"


def test_a_long_message_is_shortened(asking: FailingRegistry) -> None:
    error = asking(500, errors({"code": "C" * 10_000, "message": "m" * 10_000}))
    assert len(str(error)) < 1000


json_text = st.text(alphabet=st.characters(), max_size=20)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    status=st.sampled_from([400, 401, 403, 404, 429, 500]),
    code=st.one_of(json_text, st.none(), st.integers()),
    message=st.one_of(json_text, st.lists(json_text, max_size=2)),
    shape=st.sampled_from(["errors", "message", "details"]),
)
@example(status=404, code="\x1b[31m", message="a\r\nb\x07\x9b\u202e\u2028", shape="errors")
def test_messages_have_no_control_characters(
    asking: FailingRegistry, status: int, code: object, message: object, shape: str
) -> None:
    """No line breaks and no terminal sequences: an error is one line on stderr."""
    value = (
        {"errors": [{"code": code, "message": message}]} if shape == "errors" else {shape: message}
    )
    error = asking(status, json.dumps(value).encode())
    assert str(error).isprintable()
    assert all(found.isprintable() for found in getattr(error, "codes", ()))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    """RFC 9110, 10.2.3: Retry-After = HTTP-date / delay-seconds."""
    assert retry_after(value) == seconds


def test_a_huge_number_of_seconds_stays_huge() -> None:
    for value in ("9" * 9, "9" * 10, "1" + "0" * 12, "9" * 5000):
        found = retry_after(value)
        assert found is not None
        assert found >= 10**8


@pytest.mark.parametrize("seconds", [5, 90, 86400])
def test_retry_after_as_a_date(seconds: int) -> None:
    """RFC 9110, 10.2.3: Retry-After = HTTP-date / delay-seconds."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    found = retry_after(email.utils.format_datetime(moment, usegmt=True))
    assert found is not None
    assert seconds - 3 <= found <= seconds


@QUICK
@given(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="0123456789-+:, GMTWedOct", max_size=30),
        st.builds(
            "Wed, {} Oct {} {}:{}:{} {}".format,
            st.integers(0, 99),
            st.integers(0, 99999),
            st.integers(0, 99),
            st.integers(0, 99),
            st.integers(0, 99),
            st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "", "EST", "-0000"]),
        ),
    )
)
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    """RFC 9110, 10.2.3: "a non-negative decimal integer" or a date; everything else is ignored."""
    found = retry_after(value)
    assert found is None or found >= 0
