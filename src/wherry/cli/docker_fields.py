"""Fields of docker's ``--format`` for the templates of ``images`` and ``show``."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from wherry.cli import render
from wherry.cli.gotemplate import Struct
from wherry.cli.inspect_template import go_struct
from wherry.model import quantity, v1
from wherry.model.gostruct import encode
from wherry.model.reference import familiar, familiar_name, split_name

if TYPE_CHECKING:
    from wherry.image import Image
    from wherry.store.listing import ImageRow

_NONE = "<none>"
_UNKNOWN = "N/A"
_ID = slice(len("sha256:"), len("sha256:") + 12)
_COLUMN, _GAP = 10, 3  # least width of a table column, and the space at its end

TITLES = Struct(
    {
        "Repository": "REPOSITORY",
        "Tag": "TAG",
        "ID": "IMAGE ID",
        "Digest": "DIGEST",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "Size": "SIZE",
    },
    {},
)


def row(listed: ImageRow) -> Struct:
    """Return a row of ``images`` with the fields of ``docker images --format``."""
    name, tag = split_name(listed.name) if listed.name else ("", None)
    since = render.age(listed.created)
    fields = {
        "Repository": familiar_name(name) if name else _NONE,
        "Tag": tag or _NONE,
        "ID": listed.id[_ID],
        "Digest": listed.root,
        "CreatedSince": _UNKNOWN if since == "-" else since,
        "CreatedAt": _moment(listed.created),
        "Size": quantity.size(listed.size).replace(" ", ""),
    }
    return Struct(fields, dict(sorted(fields.items())))


def image(shown: Image) -> Struct:
    """Return an image with the fields of ``docker image inspect`` and its digest."""
    document = v1.image(shown.config.raw)
    config = go_struct(v1.RUN_20_10, encode(v1.RUN_20_10, document.get("config") or {}))
    layers = {"Type": "layers", "Layers": [str(digest) for digest in shown.config.diff_ids]}
    root = Struct(layers, layers)
    names = [familiar(name) for name in shown.names]
    fields = {
        "Id": str(shown.id),
        "RepoTags": [name for name in names if "@" not in name],
        "RepoDigests": [name for name in names if "@" in name],
        "Comment": document.get("comment", ""),
        "Created": shown.config.created,
        "DockerVersion": document.get("docker_version", ""),
        "Author": shown.config.author,
        "Config": config,
        "Architecture": shown.config.architecture,
        "Variant": shown.config.variant,
        "Os": shown.config.os,
        "OsVersion": shown.config.os_version,
        "Size": shown.size,
        "RootFS": root,
        "Digest": str(shown.digest),
    }
    plain = {name: value for name, value in fields.items() if value or name not in _OMITTED}
    return Struct(fields, plain | {"Config": config.document, "RootFS": root.document})


_OMITTED = {"Variant", "OsVersion"}  # left out of the JSON if empty


def table(lines: list[str]) -> str:
    """Align the tab-separated cells of lines, as docker does for ``table …``."""
    rows = [line.rstrip("\n").split("\t") for line in lines]
    count = max(map(len, rows))
    widths = [
        max(_COLUMN, _GAP + max(len(cells[place]) for cells in rows if place < len(cells)))
        for place in range(count)
    ]
    return "".join(
        "".join(map(str.ljust, cells, widths[: len(cells) - 1])) + cells[-1].rstrip() + "\n"
        for cells in rows
    )


def _moment(created: str) -> str:
    """Return a time in Go's format, in UTC and whole seconds."""
    if render.age(created) == "-":
        return _UNKNOWN
    moment = datetime.datetime.fromisoformat(created)
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"
