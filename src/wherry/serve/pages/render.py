"""Templates of the pages, and the headers that each page has."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response

from wherry.model import quantity
from wherry.model.age import age

if TYPE_CHECKING:
    import jinja2

    from wherry.model.digest import Digest

_DIRECTORY = Path(__file__).parent / "templates"
_SAFE = "/:@"  # characters of names that a path may have
_SHORT = 12  # hex digits of a digest


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Fill a template; what it shows of images is escaped."""
    text = _environment().get_template(template).render(now=_now(), **values)
    return Response(text.encode("utf-8", "replace"), status, _headers(), "text/html; charset=utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # on first use, since it takes a part of the server's start

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_DIRECTORY),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "age": _age,
        "image_url": lambda reference: f"/image/{quote(str(reference), _SAFE)}",
        "moment": _moment,
        "repository_url": lambda name: f"/repository/{quote(name, _SAFE)}",
        "short": _short,
        "size": _size,
        "thousands": "{:,}".format,
    }
    environment.globals |= {"style": _style(), "count": quantity.count}
    return environment


@functools.cache
def _style() -> str:
    return (_DIRECTORY / "style.css").read_text(encoding="utf-8")


@functools.cache
def _headers() -> dict[str, str]:
    """Return headers that allow the style of the page, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _age(moment: str, now: datetime.datetime) -> str:
    found = age(moment, now)
    return "" if found == "-" else found


def _short(digest: Digest) -> str:
    return digest.hex[:_SHORT]


def _size(count: int | None) -> str:
    return "" if count is None or count < 0 else quantity.size(count)
