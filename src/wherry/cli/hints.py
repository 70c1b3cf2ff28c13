"""Advice for command lines that use the words of other tools.

Imported only when a command line is wrong.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

LEAST_LIKENESS = 0.75  # of a misspelt word to the right one, between 0 and 1
_NEGATION = "no-"  # prefix of options that turn something off


class Hint(Record):
    """Advice for options of other tools.

    ``words`` are those options, separated by spaces. ``needs`` is the option that the advice
    names, or "".
    """

    words: str
    needs: str
    text: str


_LISTS = "`wherry images` lists the store, `wherry tags NAME` the tags of a repository"
_TAGS = "`wherry tags NAME` lists the tags of a repository, `wherry catalog HOST` repositories"
_SEARCH = "registries are not searched; `wherry catalog HOST` lists the repositories of some"
_REMOVES = "`wherry rm` removes images from the store, `wherry delete` from registries"
_COLLECTS = "`wherry gc` removes images and layers without a name"
_PULLS = "`wherry pull` pulls images"
_BUILDS = "wherry builds no images; `wherry import` makes one from a tar or directory"
_RUNS = "wherry runs no containers; `wherry save` writes images for docker and podman"
_PUSHES = "`wherry push` sends an image to a registry"
_COPIES = "`wherry copy` copies one image, `wherry push --all-tags` every tag of the store"
_CHECKS = "`wherry validate NAME` checks an image, `wherry fsck` the store"
_USAGE = "`wherry df` shows the disk usage of the store"
_BLOBS = "`wherry blob NAME DIGEST` prints a layer"
_REFERS = "`wherry referrers NAME` lists signatures and SBOMs"
_ACCESS = "`wherry login` stores credentials, `wherry why NAME` shows which are used"

# Commands of docker, podman, skopeo, crane, oras and regctl -> what to use here.
COMMANDS = {
    "ls list list-images": _LISTS,
    "list-tags repo repos repository repositories": _TAGS,
    "search": _SEARCH,
    "rmi remove del": _REMOVES,
    "prune clean cleanup": _COLLECTS,
    "fetch get download": _PULLS,
    "build bud buildx builder commit": _BUILDS,
    "run ps exec start stop restart kill create container containers attach logs top": _RUNS,
    "stats wait port pause unpause rename compose pod network volume": _RUNS,
    "upload put": _PUSHES,
    "sync mirror cp": _COPIES,
    "extract mount": "`wherry unpack` writes the files of an image into a directory",
    "verify check": _CHECKS,
    "info du": _USAGE,
    "layer layers": _BLOBS,
    "discover sbom signatures trust": _REFERS,
    "auth whoami": _ACCESS,
    "manifest-digest": "`wherry digest NAME` prints the digest of a name",
    "completion": 'to set up completion: eval "$(_WHERRY_COMPLETE=bash_source wherry)"',
}
# Subcommands of `docker image`, `docker system` and `podman image`.
SECOND = {
    "ls": "images",
    "list": "images",
    "rm": "rm",
    "remove": "rm",
    "prune": "gc",
    "df": "df",
    "info": "df",
    "inspect": "show",
}
GROUPS = {"image", "system"}
_VERBS = {"inspect", "ls", "list", "get", "fetch", "show"}  # after `manifest`, `tags`, `blob`

_TLS = "--tls-verify --src-tls-verify --dest-tls-verify --no-tls-verify --skip-tls-verify"
_TLS_TOO = "--insecure-skip-tls-verify --tls-skip-verify --no-verify-tls --no-verify --plain-http"
_TLS_OFF = "--no-tls --no-ssl --disable-tls"
_HTTP = "--insecure-registry --allow-insecure --src-plain-http --no-check-certificate -k"
_HTTP_TOO = "--from-plain-http --to-plain-http --from-insecure --to-insecure"
_PLATFORM = "--override-arch --override-os --override-variant --arch --os --variant"
_CREDS = "--src-creds --dest-creds --username --password --user --registry-token -u -p"
_CERTS = "--cert-dir --src-cert-dir --dest-cert-dir --cacert --ca-file --cert --key"
_POLICY = "--insecure-policy --policy --disable-content-trust --signature-policy"
_SIGNING = "--remove-signatures --sign-by --sign-by-sigstore"
_PACKING = "--compress --compression-format --compression-level --dest-compress"
_PACKING_TOO = "--dest-compress-format --dest-compress-level --dest-decompress --compress-level"
_DIGEST = "--digestfile --digest-file --image-refs --metadata-file --iidfile"
_ANONYMOUS = "--no-creds --src-no-creds --dest-no-creds --anonymous"
OPTIONS = (
    Hint(
        f"{_TLS} {_TLS_TOO} {_TLS_OFF} {_HTTP} {_HTTP_TOO}",
        "--insecure",
        "--insecure turns off certificate verification, and allows plain HTTP",
    ),
    Hint(_PLATFORM, "--platform", "--platform OS/ARCH selects another image"),
    Hint(
        _CREDS,
        "--creds",
        "pass credentials with --creds USER:PASSWORD, or store them with `wherry login`",
    ),
    Hint("--password -p", "--password-stdin", "--password-stdin reads it from a pipe"),
    Hint("--src-authfile --dest-authfile", "--authfile", "--authfile FILE names the file"),
    Hint(
        _CERTS, "--insecure", "put certificates for a host into ~/.config/containers/certs.d/HOST"
    ),
    Hint(_POLICY, "", "there is no signature policy: leave out the option"),
    Hint(
        _SIGNING, "--referrers", "only --referrers copies signatures, none are made: leave it out"
    ),
    Hint(_SIGNING, "", "image signatures are not made: leave out the option"),
    Hint(
        f"{_PACKING} {_PACKING_TOO}",
        "--compression",
        "--compression gzip[:LEVEL], zstd[:LEVEL] or none packs the layers anew",
    ),
    Hint("--recursive -r --digest-tags", "--referrers", "--referrers copies signatures and SBOMs"),
    Hint("--include-external", "--foreign", "--foreign sends foreign layers"),
    Hint("--preserve-digests", "--compression", "digests stay unless you ask for a conversion"),
    Hint(_DIGEST, "--compression", "the digest is printed on stdout: wherry push -q NAME > FILE"),
    Hint(_ANONYMOUS, "--authfile", "--authfile with a file that contains {} sends no credentials"),
    Hint(
        "--all -a --multi-arch", "--all-platforms", "--all-platforms selects all images of an index"
    ),
    Hint("-a", "--all", "write it in full: --all"),
    Hint("--all -a", "--digests", "all images are listed without this option"),
    Hint(
        "--retry-times --retry --max-retries",
        "--retries",
        "--retries N sets the number of attempts",
    ),
    Hint(
        "--command-timeout --request-timeout",
        "--timeout",
        "--timeout SECONDS limits the time without a byte",
    ),
    Hint(
        "--parallel --concurrency --max-concurrent-downloads",
        "--jobs",
        "--jobs N sets the number of parallel transfers",
    ),
    Hint(
        "--decryption-key",
        "--platform",
        "wherry does not read encrypted layers: decrypt the image first",
    ),
    Hint(
        "--root --data-root --graph --storage-path",
        "--store",
        "--store DIR sets the store directory",
    ),
    Hint("--log-level --loglevel", "--verbose", "-v shows each request, --debug a traceback"),
    Hint("--format --no-trunc -o", "--json", "--json prints everything in full"),
    Hint("-f", "--input", "-i FILE names the archive"),
)
# Options of commands that users often write before the command.
BEHIND = (
    *("--platform", "--insecure", "--creds", "--authfile", "--registries-conf", "--quiet", "-q"),
    *("--timeout", "--retries", "--limit-rate", "--jobs", "--progress", "--json", "--format"),
)


def for_command(word: str, rest: Sequence[str], known: Collection[str]) -> str:
    """Return advice for an unknown command; ``rest`` are the arguments after it."""
    if word in GROUPS:
        second = rest[0] if rest else ""
        meant = SECOND.get(second, second)
        if meant in known:
            return f"use `wherry {meant}`, without {word!r}"
        return f"use commands without {word!r}: `wherry images`, `wherry pull`, `wherry df`"
    for words, text in COMMANDS.items():
        if word in words.split():
            return text
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=LEAST_LIKENESS)
    return f"did you mean {near[0]!r}?" if near else "see `wherry --help`"


def for_option(name: str, context: click.Context | None) -> list[str]:
    """Return advice for an option that a command does not have."""
    own = _options(context)
    root = None if context is None else context.find_root()
    before = [] if root is context else _options(root)
    if name in before:
        return [f"{name} goes before the command: wherry {name} …"]
    if root is context and name in BEHIND:
        return [f"{name} goes after the command: wherry COMMAND {name}"]
    for hint in OPTIONS:
        if name in hint.words.split():
            if hint.needs in {"", *own}:
                return [hint.text]
            if hint.needs in before:
                return [f"{hint.text}, before the command"]
            if root is context and hint.needs in BEHIND:
                return [f"{hint.text}, after the command"]
    return _near(name, own)


def _options(context: click.Context | None) -> list[str]:
    """Return all names of the options of a context's command."""
    params = [] if context is None else context.command.params
    return [name for param in params if isinstance(param, click.Option) for name in param.opts]


def _near(name: str, own: Iterable[str]) -> list[str]:
    """Return the option that was probably meant.

    Short options are too similar to tell. An option with ``no-`` is never suggested for one without
    it, or the reverse. Only the rest of the two is compared.
    """
    if not name.startswith("--"):
        return []
    wanted = name.removeprefix("--").lower()
    start = _NEGATION if wanted.startswith(_NEGATION) else ""
    bare = {
        option.removeprefix("--").removeprefix(start): option
        for option in own
        if option.startswith(f"--{start}") and (start or not option.startswith(f"--{_NEGATION}"))
    }
    rest = wanted.removeprefix(start)
    near = difflib.get_close_matches(rest, bare, n=1, cutoff=LEAST_LIKENESS)
    return [f"did you mean {bare[near[0]]}?"] if near else []


def for_argument(context: click.Context | None, arguments: Sequence[str]) -> list[str]:
    """Return advice for a command with another tool's verb before its argument."""
    name = (context and context.info_name) or ""
    if name not in arguments:
        return []
    behind = list(arguments)[list(arguments).index(name) + 1 :]
    if not behind or behind[0] not in _VERBS:
        return []
    return [f"`wherry {name}` takes only the name: wherry {name} {' '.join(behind[1:])}"]
