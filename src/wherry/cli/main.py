"""The command line: subcommands and global options."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from wherry import __version__, errors
from wherry.cli import messages, signals
from wherry.cli.exit_codes import DONE, INTERRUPTED
from wherry.cli.outcome import (
    exit_now,
    finish_output,
    report_error,
    report_interrupt,
    report_unexpected,
    report_usage_error,
)
from wherry.cli.param_types import NonEmptyPath
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from wherry.image_store import Store
    from wherry.store import LocalStore

_HELP_LINES = 24  # lines of help without the list of commands

# Commands by subject. The module of a command is imported only when the command runs.
_GROUPS = {
    "Registries": {
        "pull": "Pull images from registries into the store.",
        "push": "Push an image to a registry.",
        "copy": "Copy an image from one place to another.",
        "inspect": "Show an image without pulling its layers.",
        "tags": "List the tags of a repository.",
        "catalog": "List the repositories of a registry.",
        "digest": "Print the digest that a name resolves to.",
        "manifest": "Print a manifest or index, byte for byte.",
        "config": "Print the config of an image, byte for byte.",
        "blob": "Print a blob, and verify its digest.",
        "referrers": "List the referrers of an image: signatures, SBOMs.",
        "history": "Show the build steps of an image.",
        "delete": "Delete images or tags from registries.",
        "lock": "Lock the tags of a file to their digests.",
        "validate": "Check a whole image and report every finding.",
    },
    "The store": {
        "images": "List the images in the store.",
        "show": "Show the details of images in the store.",
        "tag": "Add names to an image in the store.",
        "untag": "Remove names; their images stay until gc.",
        "rm": "Remove names, and images with their last name.",
        "df": "Show the disk usage of the store.",
        "gc": "Remove images and layers without a name.",
        "fsck": "Check the store, and repair it.",
        "serve": "Serve the store as a registry.",
    },
    "Archives": {
        "save": "Write images to an archive or layout.",
        "load": "Load images from an archive into the store.",
        "import": "Make an image from a tar or directory.",
        "unpack": "Unpack the files of an image into a directory.",
        "export": "Write the files of an image as one tar.",
    },
    "Access": {
        "login": "Check credentials for a registry and store them.",
        "logout": "Remove stored credentials.",
        "why": "Explain how a name is resolved, and which credentials are used.",
    },
}
_COMMANDS = {name: text for group in _GROUPS.values() for name, text in group.items()}


_VERSION = f"wherry {__version__}"
_MODULES = {"import": "import_"}  # `import` is a keyword of Python


class GlobalOptions(Record):
    """The options before the subcommand."""

    store_path: Path | None
    verbose: bool
    debug: bool

    def store(self) -> Store:
        """Open the store that the options name."""
        from wherry.image_store import Store

        return Store(self.store_path)

    def local_store(self) -> LocalStore:
        """Open the store that the options name, for tables of its images."""
        from wherry.image_store import local_store

        return local_store(self.store())


class _InterruptedError(Exception):
    """The user or a signal interrupted the command."""


class _ReaderGoneError(Exception):
    """The reader of standard output has closed it."""


class _Commands(click.Group):
    """Subcommands, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"wherry.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.resilient_parsing:  # completion must not fail
            return super().resolve_command(ctx, args)
        args = _as_option(ctx, args)
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from wherry.cli.hints import for_command

            hint = for_command(args[0], args[1:], _COMMANDS)
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _long_flags(command, rest) if command else rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGoneError from None  # click would exit with 1
        except KeyboardInterrupt:
            raise _InterruptedError from None  # click would print an empty line first

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        # The texts come from the table above, so that help imports no command.
        import shutil

        if len(_COMMANDS) + _HELP_LINES < shutil.get_terminal_size().lines:
            for title, group in _GROUPS.items():
                with formatter.section(title):
                    formatter.write_dl(list(group.items()))
        else:  # a short list, so that help fits on the screen
            with formatter.section("Commands"):
                formatter.write_dl([(title, " ".join(group)) for title, group in _GROUPS.items()])


def _as_option(ctx: click.Context, args: list[str]) -> list[str]:
    """Treat the words `version` and `help [COMMAND]` as options, as docker does."""
    if args[:1] == ["version"]:
        click.echo(_VERSION)
        ctx.exit()
    if args[:1] != ["help"]:
        return args
    if len(args) == 1 or args[1].startswith("-") or args[1] in {"help", "version"}:
        click.echo(ctx.get_help())
        ctx.exit()
    return [args[1], "--help"]


def _long_flags(command: click.Command, args: list[str]) -> list[str]:
    """Replace short flags at the start with long ones.

    click first takes a short flag for a misspelt long one and looks for similar names. That
    takes a millisecond and imports a module.
    """
    long = {
        option.opts[0]: option.opts[1]
        for option in command.params
        if isinstance(option, click.Option) and option.is_flag and len(option.opts) > 1
    }
    count = next((i for i, arg in enumerate(args) if arg not in long), len(args))
    return [*(long[arg] for arg in args[:count]), *args[count:]]


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Run `wherry COMMAND --help` for options and examples. Exit codes: 0 success, "
    "1 failure, 2 usage, 3 not found, 4 access denied, 5 integrity, 6 network, 130 interrupted.",
)
@click.option(
    "--store",
    type=NonEmptyPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Store directory (WHERRY_STORE; default ~/.local/share/wherry).",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each request.")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.version_option(__version__, "--version", prog_name="wherry", message=_VERSION)
@click.pass_context
def cli(ctx: click.Context, store: Path | None, verbose: bool, debug: bool) -> None:
    """Pull, push, copy and inspect container images, without a daemon or root."""
    messages.set_verbose(verbose=verbose)
    ctx.obj = GlobalOptions(store, verbose, debug)


def _run(args: list[str]) -> Any:
    """Run a command and return its result. Without arguments this may be a completion."""
    if not args:  # a shell asks for completions with an environment variable
        from wherry.cli.completion import register

        register()
        return cli.main(args, prog_name="wherry", standalone_mode=False)
    try:
        # `cli.main` would print an empty line when it is interrupted.
        with cli.make_context("wherry", list(args)) as context:  # click empties the list
            return cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with the code for its outcome."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    messages.configure(args)
    signals.handle_sigterm()
    if not _COMMANDS.keys().isdisjoint(args):  # help and the version start no thread
        signals.watch(lambda: exit_now(report_interrupt()), INTERRUPTED)
    try:
        result = _run(args)
        code = result if isinstance(result, int) else DONE
        finish_output()
    except (_InterruptedError, click.exceptions.Abort, KeyboardInterrupt):
        code = report_interrupt()
    except click.ClickException as error:
        code = report_usage_error(error, args)
    except errors.WherryError as error:
        code = report_error(error, debug="--debug" in args)
    except (_ReaderGoneError, BrokenPipeError):
        # The reader, such as `head`, has closed the pipe, which is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except Exception as error:  # noqa: BLE001 - report defects in one line, too
        code = report_unexpected(error, debug="--debug" in args)
    exit_now(code)


def global_options(ctx: click.Context) -> GlobalOptions:
    """Return the options before the subcommand."""
    found: Any = ctx.find_object(GlobalOptions)
    return (
        found
        if isinstance(found, GlobalOptions)
        else GlobalOptions(None, verbose=False, debug=False)
    )


def open_input(source: str) -> contextlib.AbstractContextManager[str | BinaryIO]:
    """Return the path, or for ``-`` an unbuffered stream from standard input."""
    if source != "-":
        return contextlib.nullcontext(source)
    if sys.__stdin__ is None:  # closed by `<&-`; must not be read as an empty file
        raise click.UsageError("standard input is closed: name a file, or use a pipe")
    return cast("BinaryIO", open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))
