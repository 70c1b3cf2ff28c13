"""The command ``wherry show``."""

from __future__ import annotations

import functools
import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.param_types import StoreName
from wherry.cli.printable import printable
from wherry.cli.resolve_name import call_for_each
from wherry.model import quantity
from wherry.model.reference import familiar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.image import Image
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry show alpine
  wherry show 0f5c1c1b9a7e
  wherry show --json alpine | jq .config.config.Env
  wherry show --format '{{json .Config.Labels}}' alpine
  wherry images -q | xargs wherry show
"""
_COMMAND_SHOWN = 60  # characters of the build step of a layer


@click.command("show", epilog=EXAMPLES)
@click.argument(
    "names",
    type=StoreName("shown"),
    nargs=-1,
    required=True,
    metavar="NAME|ID…",
    shell_complete=image_names,
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with the config and all digests."
)
@click.option(
    "-f",
    "--format",
    "template",
    metavar="TEMPLATE",
    help="Print with a Go template that has the fields of `docker inspect`.",
)
@click.pass_context
def command(
    ctx: click.Context, names: tuple[Address, ...], as_json: bool, template: str | None
) -> int:
    """Show images in the store: names, platform, settings and layers.

    If an image is not there, the others are still shown.
    """
    if as_json and template is not None:
        raise click.UsageError("--json cannot be combined with --format", ctx)
    store = global_options(ctx).store()
    texts: list[str] = []
    text = (
        _template_text(template)
        if template is not None
        else functools.partial(_text, as_json=as_json)
    )
    code = call_for_each(ctx, names, lambda name: texts.append(text(store.get(name))))
    if template is not None:
        render.write_text("".join(texts))
    elif texts:
        click.echo(("\n" if as_json else "\n\n").join(texts))
    store.close()
    return code


def _template_text(template: str) -> Callable[[Image], str]:
    """Return a function that prints an image with a template.

    Raises:
        InvalidReference: The template does not parse.
    """
    from wherry.cli import docker_fields
    from wherry.cli.inspect_template import FormatTemplate

    form = FormatTemplate("{{json .}}" if template == "json" else template)
    return lambda image: form.fill(docker_fields.image(image))


def _text(image: Image, *, as_json: bool) -> str:
    return json.dumps(_object(image), indent=2) if as_json else "\n".join(_lines(image))


def _object(image: Image) -> dict[str, Any]:
    return {
        "id": str(image.id),
        "digest": str(image.digest),
        "names": list(image.names),
        "platform": str(image.platform),
        "platforms": _platforms(image),
        "created": image.config.created or None,
        "size": image.size,
        "manifest": {
            "mediaType": image.manifest.media_type,
            "digest": str(image.record.manifest),
            "annotations": dict(image.manifest.annotations),
        },
        "layers": [
            {
                "digest": str(layer.digest),
                "diff_id": str(layer.diff_id),
                "mediaType": layer.media_type,
                "size": layer.size,
                "created_by": layer.created_by,
            }
            for layer in image.layers
        ],
        "config": json.loads(image.config.raw),
    }


def _platforms(image: Image) -> list[str]:
    return list(dict.fromkeys(map(str, image.platforms)))


def _created(text: str) -> str:
    return f"{text}  ({render.age(text)})" if text else ""


def _lines(image: Image) -> Iterator[str]:
    config = image.config
    rows = [
        ("id", [str(image.id)]),
        ("digest", [str(image.digest)]),
        ("names", [familiar(name) for name in image.names if "@" not in name]),
        ("platform", [", ".join(_platforms(image))]),
        ("created", [_created(image.config.created)]),
        ("author", [config.author]),
        ("size", [f"{quantity.size(image.size)} in {quantity.count(len(image.layers), 'layer')}"]),
        ("user", [config.user]),
        ("workdir", [config.working_dir]),
        ("entrypoint", [shlex.join(config.entrypoint or ())]),
        ("cmd", [shlex.join(config.cmd or ())]),
        ("ports", [" ".join(config.exposed_ports)]),
        ("volumes", [" ".join(config.volumes)]),
        ("env", [f"{name}={value}" for name, value in config.env.items()]),
        ("labels", [f"{name}={value}" for name, value in config.labels.items()]),
    ]
    for title, values in rows:
        for place, value in enumerate(value for value in values if value):
            yield f"{title if place == 0 else '':<12}{printable(value)}"
    for place, layer in enumerate(image.layers):
        step = " ".join(layer.created_by.split())
        short = step if len(step) <= _COMMAND_SHOWN else f"{step[: _COMMAND_SHOWN - 1]}…"
        title = "layers" if place == 0 else ""
        size = quantity.size(layer.size)
        line = f"{title:<12}{layer.digest.short}  {size:>7}  {printable(short)}"
        yield line.rstrip()
