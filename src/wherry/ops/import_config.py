"""The config of an imported image."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument
from wherry.model._fields import Fields, load_object
from wherry.model.config import MAX_DEPTH, parse_config
from wherry.transfer.derive import imported_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.digest import Digest
    from wherry.ops.import_options import ImportOptions


def make_config(
    parent: bytes | None,
    diff_id: Digest | None,
    settings: dict[str, Any] | None,
    options: ImportOptions,
) -> bytes:
    """Make the config of an image, or return the caller's whole config.

    ``parent`` is the config of the image below, ``diff_id`` the DiffID of the new layer.

    Raises:
        InvalidDocument: The caller's config does not fit the layers.
    """
    diff_ids = [] if parent is None else list(parse_config(parent).diff_ids)
    if diff_id is not None:
        diff_ids.append(diff_id)
    given = options.config
    if given is not None and is_whole(given):
        _compare(given, diff_ids)
        return given
    entry = {"created": _time(options.epoch), "comment": options.message or "imported"}
    return imported_config(
        diff_ids,
        entry if diff_id is not None else entry | {"empty_layer": True},
        parent=parent,
        given=given,
        platform=options.platform,
        settings=settings,
        comment=options.message,
    )


def is_whole(config: bytes) -> bool:
    """Tell a whole config from a version 1 JSON, which has no rootfs."""
    return "rootfs" in load_object(config, "the config", max_depth=MAX_DEPTH).value


def change_settings(parent: bytes | None, changes: Sequence[str]) -> dict[str, Any] | None:
    """Return the parent's settings with the changes applied; None without changes."""
    if not changes:
        return None
    from wherry.model.changes import apply_changes

    found = Fields({}) if parent is None else load_object(parent, "the config", max_depth=MAX_DEPTH)
    settings = found.object("config")
    return apply_changes({} if settings is None else settings.value, changes)


def _time(epoch: int | None) -> str:
    """Return the creation time of the image, as in RFC 3339."""
    if epoch is None:
        now = datetime.datetime.now(datetime.UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    made = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    return f"{made.replace(tzinfo=None).isoformat()}Z"


def _compare(config: bytes, diff_ids: list[Digest]) -> None:
    """Raise `InvalidDocument` unless the config lists the DiffIDs of the layers."""
    parsed = parse_config(config)
    for path, message, _ in parsed.problems:  # a new image must have no faults
        raise InvalidDocument(message, path=path)
    stated = list(parsed.diff_ids)
    if stated != diff_ids:
        found = " ".join(map(str, diff_ids)) or "none"
        raise InvalidDocument(
            "does not fit the layers", path="rootfs.diff_ids", hint=f"the layers are {found}"
        )
