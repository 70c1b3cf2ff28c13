"""``dray images``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from dray.cli import render
from dray.cli.main import settings
from dray.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dray.image import Store
    from dray.model.digest import Digest
    from dray.store.images import ImageRecord

EXAMPLES = """\b
Examples:
  dray images
  dray images --digests
  dray images --json | jq -r '.[].id'
"""


@click.command("images", epilog=EXAMPLES)
@click.option("--digests", is_flag=True, help="Show the digests to pull by as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print image ids alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: full names, sizes in bytes.")
@click.pass_context
def command(ctx: click.Context, digests: bool, quiet: bool, as_json: bool) -> None:
    """List the images of the store, by name."""
    store = settings(ctx).store()
    found = list(_tagged(store))
    if as_json:
        click.echo(json.dumps([_object(*entry) for entry in found], indent=2))
    elif quiet:
        for image_id in dict.fromkeys(record.id for _, _, record in found):
            click.echo(str(image_id))
    else:
        header = ["NAME", "TAG", *(["DIGEST"] if digests else []), "ID", "CREATED", "SIZE"]
        click.echo(render.table(header, [_row(*entry, digests=digests) for entry in found]))
    store.close()


def _tagged(store: Store) -> Iterator[tuple[Reference, Digest, ImageRecord]]:
    """Yield names with tags, and those by digest whose image has no tag in the repository."""
    found = [(Reference.parse(n), root, record) for n, root, record in store.named_images()]
    tagged = {(name.name, root) for name, root, _ in found if name.tag is not None}
    for name, root, record in found:
        if name.tag is not None or (name.name, root) not in tagged:
            yield name, root, record


def _row(name: Reference, root: Digest, record: ImageRecord, *, digests: bool) -> list[str]:
    return [
        name.familiar_name,
        name.tag or "<none>",
        *([str(root)] if digests else []),
        record.id.short,
        render.age(record.created),
        render.size(record.size),
    ]


def _object(name: Reference, root: Digest, record: ImageRecord) -> dict[str, object]:
    return {
        "name": name.name,
        "tag": name.tag,
        "digest": str(root),
        "id": str(record.id),
        "manifest": str(record.manifest),
        "platform": record.platform,
        "created": record.created or None,
        "size": record.size,
    }
