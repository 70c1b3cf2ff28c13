"""The routes of the pages: ``/``, ``/repository/NAME`` and ``/image/NAME``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from wherry.errors import InvalidDigest, InvalidReference, WherryError
from wherry.model.digest import Digest
from wherry.model.reference import MAX_PATH, Reference
from wherry.serve.pages.image_view import MAX_ROWS, view_image
from wherry.serve.pages.pull_commands import Place, pull_commands
from wherry.serve.pages.render import page
from wherry.store import overview

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from wherry.serve.context import Context
    from wherry.store import LocalStore
    from wherry.store.overview import NameRow, Order, RepositoryRow

PAGE_ROWS = 100


class Paging(NamedTuple):
    """One page of a list.

    Attributes:
        number: The number of the page, from 1.
        total: The number of entries on all pages.
    """

    number: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(1, -(-self.total // PAGE_ROWS))

    @property
    def skip(self) -> int:
        """The number of entries on earlier pages."""
        return (self.number - 1) * PAGE_ROWS


class Listing(NamedTuple):
    """Which names of a repository are listed.

    Attributes:
        wanted: A text that the tags contain.
        order: The order of the tags.
        shows_digests: Whether names by digest are listed in place of tags.
    """

    wanted: str
    order: Order
    shows_digests: bool

    @classmethod
    def of(cls, request: Request) -> Listing:
        """Read the parameters of a request."""
        given = request.query_params
        order: Order = "name" if given.get("sort") == "name" else "updated"
        return cls(_wanted(request), order, given.get("show") == "digests")

    @property
    def query(self) -> dict[str, str]:
        """The parameters of links to other pages of the list."""
        sort = "name" if self.order == "name" else ""
        found = {"q": self.wanted, "sort": sort, "show": "digests" if self.shows_digests else ""}
        return {key: value for key, value in found.items() if value}

    def count_tags(self, store: LocalStore, name: str) -> int:
        """Return the number of tags on all pages."""
        return store.ask(lambda connection: overview.count_tags(connection, name, self.wanted), 0)

    def rows(self, store: LocalStore, name: str, paging: Paging) -> list[NameRow]:
        """Return the names on a page."""
        no_rows: list[NameRow] = []
        part = (paging.skip, PAGE_ROWS)
        if self.shows_digests:
            return store.ask(lambda each: overview.list_digests(each, name, *part), no_rows)
        return store.ask(
            lambda each: overview.list_tags(each, name, self.wanted, self.order, *part), no_rows
        )


def page_routes(context: Context) -> list[Route]:
    """Return the routes of the pages."""

    def route(path: str, make: Callable[[Request, Context], Response]) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await run_in_threadpool(make, request, context)
            except WherryError:
                return page("missing.html", 503, title="The store cannot be read", name="")

        return Route(path, answer, methods=["GET"])

    return [
        route("/", _home),
        route("/repository/{name:path}", _repository),
        route("/image/{name:path}", _image),
    ]


def _home(request: Request, context: Context) -> Response:
    wanted = _wanted(request)
    no_rows: list[RepositoryRow] = []
    rows = context.store.ask(overview.list_repositories, no_rows)
    found = [row for row in rows if wanted.lower() in row.name.lower()]
    own = f"{context.name}/"
    found.sort(key=lambda row: not row.name.startswith(own))  # its own repositories first
    paging = Paging(_number(request), len(found))
    return page(
        "repositories.html",
        context=context,
        place=Place.of(request, context),
        rows=found[paging.skip : paging.skip + PAGE_ROWS],
        total=len(rows),
        paging=paging,
        query={"q": wanted} if wanted else {},
        wanted=wanted,
    )


def _repository(request: Request, context: Context) -> Response:
    text = request.path_params["name"]
    try:
        name = Reference.parse_name(text).name
    except InvalidReference:
        return _missing(text)
    tags, digests = context.store.ask(
        lambda connection: overview.count_names(connection, name), (0, 0)
    )
    if not tags and not digests:
        return _missing(text)
    listing = Listing.of(request)
    paging = Paging(_number(request), digests)
    if not listing.shows_digests:
        paging = paging._replace(total=listing.count_tags(context.store, name))
    return page(
        "repository.html",
        name=name,
        tags=tags,
        digests=digests,
        rows=listing.rows(context.store, name, paging),
        listing=listing,
        paging=paging,
    )


def _image(request: Request, context: Context) -> Response:
    text = request.path_params["name"]
    try:
        reference = Reference.parse(text).with_default_tag()
        if reference.digest is not None:
            reference = reference._replace(tag=None)
        chosen = request.query_params.get("manifest")
        digest = None if chosen is None else Digest.parse(chosen)
    except (InvalidReference, InvalidDigest):
        return _missing(text)
    view = view_image(context.store, reference, digest)
    if view is None:
        return _missing(text)
    artifact = view.details is not None and view.details.artifact is not None
    place = Place.of(request, context)
    return page(
        "image.html",
        view=view,
        commands=pull_commands(place, context.name, reference, artifact=artifact),
        max_rows=MAX_ROWS,
    )


def _missing(name: str) -> Response:
    return page("missing.html", 404, title="Not found", name=name)


def _wanted(request: Request) -> str:
    return request.query_params.get("q", "").strip()[:MAX_PATH]


def _number(request: Request) -> int:
    text = request.query_params.get("page", "")
    return max(1, int(text)) if re.fullmatch("[0-9]{1,6}", text) else 1
