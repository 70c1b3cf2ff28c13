"""Options and results that `push` and `copy` share."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherry.cli.main import global_options
from wherry.cli.messages import write_lines
from wherry.cli.options import dry_run_option, make_client, print_event
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.cli.main import GlobalOptions
    from wherry.cli.progress import ProgressDisplay
    from wherry.client import Client
    from wherry.content.events import Event
    from wherry.image_store import Store
    from wherry.model.address import Address
    from wherry.transfer.execute import CopyResult

F = TypeVar("F", bound="Callable[..., Any]")

# Options that are arguments of `Client.copy`.
_ARGUMENTS = (
    *("platform", "all_platforms", "convert_to", "compression", "referrers", "force"),
    *("sparse", "attestations", "additional_tags"),
)

_OPTIONS = (
    click.option(
        "--platform",
        metavar="OS[/ARCH[/VARIANT]],…",
        help="Send only these images of an index.",
    ),
    click.option("--all-platforms", is_flag=True, help="Send every image of an index."),
    click.option(
        "--format",
        "convert_to",
        type=click.Choice(["oci", "docker", "v2s1"]),
        help="Convert the manifests to OCI, docker's schema2 or docker's schema1.",
    ),
    click.option(
        "--compression",
        metavar="gzip[:LEVEL]|zstd[:LEVEL]|none|keep",
        help="How to compress the layers.",
    ),
    click.option("--foreign", is_flag=True, help="Send foreign layers too."),
    click.option(
        "--referrers", is_flag=True, help="Send signatures, SBOMs and other referrers too."
    ),
    click.option(
        "--additional-tag",
        "additional_tags",
        metavar="TAG",
        multiple=True,
        help="Set this tag in the registry too; may be repeated.",
    ),
    click.option("--force", is_flag=True, help="Send what the destination has, to repair it."),
    dry_run_option,
    click.option("--json", "as_json", is_flag=True, help="Print the result or the plan as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Print only digests and warnings."),
    click.option(
        "--progress",
        type=click.Choice(["auto", "tty", "plain", "json"]),
        default="auto",
        show_default=True,
        help="Form of the progress on stderr.",
    ),
)


def sink_options(command: F) -> F:
    """Add the options of commands that write images, above `transfer_options`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Sending(Record):
    """What the options of a command ask for.

    Attributes:
        options: The options before the command.
        arguments: Arguments of `Client.copy` and similar calls.
        registry: Options of the client.
        dry_run: Whether to print plans only.
        as_json: Whether to print JSON.
        quiet: Whether to show only warnings.
        progress: The form of the progress.
    """

    options: GlobalOptions
    arguments: Mapping[str, Any]
    registry: Mapping[str, Any]
    dry_run: bool
    as_json: bool
    quiet: bool
    progress: str

    @classmethod
    def parse(cls, ctx: click.Context, given: Mapping[str, Any]) -> Sending:
        """Sort the options of a command; raises `click.UsageError` for a contradiction."""
        if given["all_platforms"] and given["platform"]:
            raise click.UsageError("--all-platforms cannot be combined with --platform", ctx)
        output = {name: given[name] for name in ("dry_run", "as_json", "quiet", "progress")}
        arguments = {name: given[name] for name in _ARGUMENTS if name in given}
        registry = {name: v for name, v in given.items() if name not in {*output, *arguments}}
        return cls(global_options(ctx), arguments, registry, **output)

    def client(self, store: Store | None) -> Client:
        """Make the client."""
        registry = dict(self.registry)
        return make_client(self.options, store, registry, foreign=registry.pop("foreign"))

    def print_plan(
        self, client: Client, origin: Address, destination: Address, **more: Any
    ) -> None:
        """Plan a copy and print the plan; ``more`` are arguments of `Client.plan_copy`."""
        from wherry.cli.plan_lines import print_plan

        plan = client.plan_copy(origin, destination, on_event=print_event, **more, **self.arguments)
        print_plan(plan, as_json=self.as_json, verbose=self.options.verbose)

    def print_results(self, call: Callable[..., Any], *given: Any, silent: bool = False) -> None:
        """Call a method of the client, show its progress, and print its results.

        ``silent`` leaves the results out.
        """
        from wherry.cli.progress import progress_display

        verbose = self.options.verbose
        form = "plain" if verbose and self.progress == "auto" else self.progress
        with contextlib.closing(progress_display(form, quiet=self.quiet)) as display:
            listener = VerboseDisplay(display) if verbose else display
            found = call(*given, on_event=listener, **self.arguments)
        if silent:
            return
        for result in found if isinstance(found, list) else [found]:
            if self.as_json:
                sys.stdout.write(f"{json.dumps(_object(result), indent=2)}\n")
                continue
            for _ in result.names or ("",):  # a line for each name, as `pull` does
                sys.stdout.write(f"{result.v1_id or result.root.digest}\n")
        sys.stdout.flush()


class VerboseDisplay:
    """Show events, and every step of a plan before them."""

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.plan is not None:
            from wherry.cli.plan_lines import plan_table

            write_lines(plan_table(event.plan))
        self._display(event)


def _object(result: CopyResult) -> dict[str, Any]:
    return {
        "destination": result.destination,
        "digest": None if result.v1_id else str(result.root.digest),
        "mediaType": result.root.media_type or None,
        "size": result.root.size,
        "names": list(result.names),
        "sent": result.sent,
        "mounted": result.mounted,
        "notes": list(result.notes),
        **({"v1Id": result.v1_id} if result.v1_id else {}),
    }
