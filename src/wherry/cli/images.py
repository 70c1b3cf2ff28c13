"""The command ``wherry images``."""

from __future__ import annotations

import datetime
import functools
import itertools
import sys
from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.printable import printable
from wherry.model import quantity
from wherry.model.reference import familiar, familiar_name, split_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from wherry.ops.listing import Filters, Line
    from wherry.store import LocalStore
    from wherry.store.listing import ImageRow

    Columns: TypeAlias = dict[str, list[str]]

EXAMPLES = """\b
Examples:
  wherry images
  wherry images --digests 'ghcr.io/acme/*'
  wherry images --filter dangling=true
  wherry images --filter label=team=web --filter before=python:3.12
  wherry images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
  wherry images --json | jq -r '.[].id'
"""
_HEX = slice(len("sha256:"), len("sha256:") + 12)
_BATCH = 500
_FILTERS = ("reference", "dangling", "label", "before", "since")


@click.command("images", epilog=EXAMPLES)
@click.argument("pattern", required=False, shell_complete=image_names)
@click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="reference=PATTERN, dangling=true|false, label=NAME[=VALUE], before=IMAGE, since=IMAGE.",
)
@click.option("--digests", is_flag=True, help="Show digests, which `wherry pull` takes.")
@click.option(
    "--artifacts",
    is_flag=True,
    help="List what clients of `wherry serve` pushed and what is no image.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only image ids, or names of artifacts.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with full names and sizes in bytes."
)
@click.option(
    "--format",
    "template",
    metavar="TEMPLATE",
    help="Print each image with a Go template, as docker does: 'table …' or json.",
)
@click.pass_context
def command(
    ctx: click.Context,
    pattern: str | None,
    filters: tuple[str, ...],
    digests: bool,
    artifacts: bool,
    quiet: bool,
    as_json: bool,
    template: str | None,
) -> None:
    """List the images in the store by name.

    PATTERN selects names: * and ? match within a path component, ** matches across them. If
    there are several patterns, one must match. All other filters must match.

    `wherry gc` removes images without a name.
    """
    template = template or None  # docker, too, takes "" as its default form
    if template is not None and (quiet or as_json):
        raise click.UsageError("--format cannot be combined with -q or --json", ctx)
    if artifacts:
        if filters or digests or template is not None:
            message = "--artifacts cannot be combined with --filter, --digests or --format"
            raise click.UsageError(message, ctx)
        _list_artifacts(ctx, pattern, quiet=quiet, as_json=as_json)
        return
    from wherry.ops.listing import Filters, list_rows

    store = global_options(ctx).local_store()
    patterns, wanted = _parse_filters(pattern, filters)
    selected = Filters.build(store, patterns, **wanted)
    if as_json:
        import json

        click.echo(json.dumps([_object(row) for row in list_rows(store, selected)], indent=2))
    elif template not in {None, "table"}:
        _fill(str(template), list_rows(store, selected))
    elif quiet:
        ids = dict.fromkeys(_ids(store, selected))
        sys.stdout.writelines(f"{image_id}\n" for image_id in ids)
    else:
        table = _digests if digests else _table
        # `click.echo` would search all of the text for colours.
        sys.stdout.writelines(render.columns(table(store, selected)))
    store.close()


def _list_artifacts(ctx: click.Context, pattern: str | None, *, quiet: bool, as_json: bool) -> None:
    """Print the names that stand for no image."""
    from wherry.ops.artifact_listing import list_artifacts

    store = global_options(ctx).local_store()
    found = list(list_artifacts(store, [] if pattern is None else [pattern]))
    store.close()
    if as_json:
        import json

        click.echo(json.dumps([vars(each) for each in found], indent=2))
    elif quiet:
        render.write_text("".join(f"{printable(familiar(each.name))}\n" for each in found))
    else:
        names = [split_name(each.name) for each in found]
        columns = {
            "NAME": [_repository(name) for name, _ in names],
            "TAG": [_tag(tag) for _, tag in names],
            "DIGEST": [str(each.digest) for each in found],
            "TYPE": [printable(each.type) for each in found],
            "SIZE": [quantity.size(each.size) for each in found],
        }
        sys.stdout.writelines(render.columns(columns))


def _fill(template: str, rows: Iterator[ImageRow]) -> None:
    """Print the template for each row; with ``table``, align cells at its tabs."""
    from wherry.cli import docker_fields
    from wherry.cli.inspect_template import FormatTemplate

    form = FormatTemplate("{{json .}}" if template == "json" else template)
    lines = (form.fill(docker_fields.row(listed)) for listed in rows)
    if template.startswith("table "):
        render.write_text(docker_fields.table([form.fill(docker_fields.TITLES), *lines]))
    while some := list(itertools.islice(lines, _BATCH)):
        render.write_text("".join(some))


def _parse_filters(pattern: str | None, filters: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Parse filters in docker's syntax; only patterns and labels may be given twice."""
    patterns = [] if pattern is None else [pattern]
    wanted: dict[str, Any] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in _FILTERS or not equals:
            known = ", ".join(_FILTERS)
            raise click.UsageError(
                f"--filter {text}: expected KEY=VALUE, where KEY is one of {known}"
            )
        if key == "reference":
            patterns.append(value)
        elif key == "label":
            name, equals, content = value.partition("=")
            labels = wanted.setdefault("labels", {})
            _check_once(labels, name, f"label={name}")
            labels[name] = content if equals else None
        elif key == "dangling":
            _check_once(wanted, key, key)
            if value not in {"true", "false"}:
                raise click.UsageError(f"--filter {text}: expected true or false")
            wanted[key] = value == "true"
        else:
            _check_once(wanted, key, key)
            wanted[key] = value
    return patterns, wanted


def _check_once(given: Mapping[str, object], key: str, label: str) -> None:
    """Refuse a second filter of the same kind, which would replace the first."""
    if key in given:
        raise click.UsageError(f"--filter {label} is given twice")


def _ids(store: LocalStore, filters: Filters) -> Iterator[str]:
    """Yield image ids. With ``dangling``, each result is safe to pass to `wherry rm`.

    An id stands for every manifest of the image. If one of those manifests is not listed,
    because it has a tag, yield the manifest's digest instead of the id.
    """
    from wherry.ops.listing import list_lines, list_rows

    if not filters.dangling:
        yield from (line[1] for line in list_lines(store, filters))
        return
    rows = list(list_rows(store, filters))
    listed = {row.manifest for row in rows}
    for row in rows:
        same = {str(image.manifest) for image in store.images_by_id(row.id[len("sha256:") :])}
        yield row.id if same <= listed else row.manifest


def _table(store: LocalStore, filters: Filters) -> Columns:
    from wherry.ops.listing import list_lines

    return _columns(list_lines(store, filters))


def _digests(store: LocalStore, filters: Filters) -> Columns:
    from wherry.ops.listing import list_rows

    rows = list(list_rows(store, filters))
    lines = ((row.name, row.id, row.created, row.size) for row in rows)
    name, tag, *others = _columns(lines).items()
    return dict([name, tag, ("DIGEST", [row.root for row in rows]), *others])


def _columns(lines: Iterator[Line]) -> Columns:
    """Return the columns of the table. There may be thousands of rows."""
    now = datetime.datetime.now(datetime.UTC)
    age = functools.cache(lambda created: render.age(created, now))
    shown: Columns = {"NAME": [], "TAG": [], "ID": [], "CREATED": [], "SIZE": []}
    # In batches, since only the short form of ids and times has to stay in memory.
    while some := list(itertools.islice(lines, _BATCH)):
        names, ids, created, sizes = zip(*some, strict=True)
        repositories, tags = zip(*map(split_name, names), strict=True)
        shown["NAME"] += map(_repository, repositories)
        shown["TAG"] += map(_tag, tags)
        shown["ID"] += [image_id[_HEX] for image_id in ids]
        shown["CREATED"] += map(age, created)
        shown["SIZE"] += map(quantity.size, sizes)
    return shown


@functools.lru_cache(10_000)
def _repository(name: str) -> str:
    return printable(familiar_name(name)) if name else "<none>"


@functools.lru_cache(10_000)
def _tag(tag: str | None) -> str:
    return printable(tag) if tag else "<none>"


def _object(row: ImageRow) -> dict[str, object]:
    name, tag = split_name(row.name) if row.name else (None, None)
    return {
        "name": name,
        "tag": tag,
        "digest": row.root,
        "id": row.id,
        "manifest": row.manifest,
        "platform": row.platform,
        "created": row.created or None,
        "size": row.size,
    }
