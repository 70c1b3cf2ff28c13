"""Words of other tools, and what they are called here. Loaded when a command line is wrong."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

LEAST_LIKENESS = 0.75  # of a word that was mistyped, between 0 and 1
_NEGATION = "no-"  # what options begin with that turn something off


class Hint(Record):
    """Advice for options of other tools; ``needs`` is the option that it names, if any."""

    words: str
    needs: str
    text: str


_LISTS = "`wherry images` lists the store, `wherry tags NAME` the tags of a repository"
_TAGS = "`wherry tags NAME` lists the tags of a repository; registries are not searched"
_REMOVES = "`wherry rm` removes images of the store"
_COLLECTS = "`wherry gc` removes what no name holds"
_PULLS = "`wherry pull` fetches images"
_BUILDS = "wherry builds no images; `wherry import` makes one of a tar or a directory"
_RUNS = "wherry runs no containers; `wherry save` writes images for docker and podman"
_WRITES = "wherry does not write to registries; `wherry save` writes an archive"
_CHECKS = "`wherry validate NAME` checks an image, `wherry fsck` the store"
_USAGE = "`wherry df` shows what the store takes on the disk"
_BLOBS = "`wherry blob NAME DIGEST` prints a layer"
_REFERS = "`wherry referrers NAME` lists signatures and SBOMs"
_ACCESS = "`wherry login` keeps credentials, `wherry why NAME` says whose are used"

# What docker, podman, skopeo, crane, oras and regctl call things -> what to use here.
COMMANDS = {
    "ls list list-images": _LISTS,
    "list-tags repo repos repository repositories catalog search": _TAGS,
    "rmi remove delete del": _REMOVES,
    "prune clean cleanup": _COLLECTS,
    "fetch get download": _PULLS,
    "build bud buildx builder commit": _BUILDS,
    "run ps exec start stop restart kill create container containers attach logs top": _RUNS,
    "stats wait port pause unpause rename compose pod network volume cp": _RUNS,
    "push copy sync mirror upload": _WRITES,
    "export": "`wherry save` writes images to an archive",
    "verify check": _CHECKS,
    "info du": _USAGE,
    "layer layers": _BLOBS,
    "discover sbom signatures trust": _REFERS,
    "auth whoami": _ACCESS,
    "manifest-digest": "`wherry digest NAME` prints the digest of a name",
    "completion": 'completion is set up by: eval "$(_WHERRY_COMPLETE=bash_source wherry)"',
}
# The second word of `docker image`, `docker system` and `podman image`.
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
_PLATFORM = "--override-arch --override-os --override-variant --arch --os --variant"
_CREDS = "--src-creds --dest-creds --username --password --user --registry-token -u -p"
_CERTS = "--cert-dir --src-cert-dir --dest-cert-dir --cacert --ca-file --cert --key"
_POLICY = "--insecure-policy --policy --disable-content-trust --signature-policy"
_SIGNING = "--remove-signatures --sign-by --sign-by-sigstore"
_ANONYMOUS = "--no-creds --src-no-creds --dest-no-creds --anonymous"
OPTIONS = (
    Hint(
        f"{_TLS} {_TLS_TOO} {_TLS_OFF} {_HTTP}",
        "--insecure",
        "--insecure turns the verification of certificates off, and allows plain http",
    ),
    Hint(_PLATFORM, "--platform", "--platform OS/ARCHITECTURE chooses another image"),
    Hint(
        _CREDS,
        "--creds",
        "credentials are given by --creds USER:PASSWORD, or kept by `wherry login`",
    ),
    Hint("--password -p", "--password-stdin", "--password-stdin reads it from a pipe"),
    Hint("--src-authfile --dest-authfile", "--authfile", "--authfile FILE names the file"),
    Hint(_CERTS, "--insecure", "certificates of a host stand in ~/.config/containers/certs.d/HOST"),
    Hint(_POLICY, "", "there is no policy of signatures here: leave the option out"),
    Hint(_SIGNING, "", "signatures of images are not copied or made: leave the option out"),
    Hint(
        _ANONYMOUS, "--authfile", "--authfile FILE with nothing but {} in it sends no credentials"
    ),
    Hint(
        "--all -a --multi-arch", "--all-platforms", "--all-platforms takes all images of an index"
    ),
    Hint("-a", "--all", "it is written in full: --all"),
    Hint("--all -a", "--digests", "all images are listed without an option"),
    Hint("--retry-times --retry --max-retries", "--retries", "--retries N counts the attempts"),
    Hint("--command-timeout --request-timeout", "--timeout", "--timeout SECONDS without a byte"),
    Hint("--parallel --concurrency --max-concurrent-downloads", "--jobs", "--jobs N at a time"),
    Hint(
        "--decryption-key", "--platform", "encrypted layers are not read: decrypt the image first"
    ),
    Hint("--root --data-root --graph --storage-path", "--store", "--store DIR names the store"),
    Hint("--log-level --loglevel", "--verbose", "-v shows each request, --debug a traceback"),
    Hint("--format --no-trunc -o", "--json", "--json prints all of it, in full"),
    Hint("-f", "--input", "-i FILE names the archive"),
)
# Options of commands that people write before the command.
BEHIND = (
    *("--platform", "--insecure", "--creds", "--authfile", "--registries-conf", "--quiet", "-q"),
    *("--timeout", "--retries", "--limit-rate", "--jobs", "--progress", "--json", "--format"),
)


def for_command(word: str, rest: Sequence[str], known: Collection[str]) -> str:
    """Say what to use in the place of a command that there is not; ``rest`` follows it."""
    if word in GROUPS:
        second = rest[0] if rest else ""
        meant = SECOND.get(second, second)
        if meant in known:
            return f"`wherry {meant}` stands by itself"
        return "commands stand by themselves: `wherry images`, `wherry pull`, `wherry df`"
    for words, text in COMMANDS.items():
        if word in words.split():
            return text
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=LEAST_LIKENESS)
    return f"did you mean {near[0]!r}?" if near else "see `wherry --help`"


def for_option(name: str, context: click.Context | None) -> list[str]:
    """Say what to use in the place of an option that a command does not have."""
    own = _options(context)
    root = None if context is None else context.find_root()
    before = [] if root is context else _options(root)
    if name in before:
        return [f"{name} stands before the command: wherry {name} …"]
    if root is context and name in BEHIND:
        return [f"{name} stands behind the command: wherry COMMAND {name}"]
    for hint in OPTIONS:
        if name in hint.words.split():
            if hint.needs in {"", *own}:
                return [hint.text]
            if hint.needs in before:
                return [f"{hint.text}, before the command"]
            if root is context and hint.needs in BEHIND:
                return [f"{hint.text}, behind the command"]
    return _near(name, own)


def _options(context: click.Context | None) -> list[str]:
    """Return the options of a context's command, by all their names."""
    params = [] if context is None else context.command.params
    return [name for param in params if isinstance(param, click.Option) for name in param.opts]


def _near(name: str, own: Iterable[str]) -> list[str]:
    """Return what was probably mistyped; short options look all alike.

    An option that begins with ``no-`` is no misspelling of one that does not, and the rest has
    to be alike by itself.
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
    """Say how to call a command that got a verb of other tools before its argument."""
    name = (context and context.info_name) or ""
    if name not in arguments:
        return []
    behind = list(arguments)[list(arguments).index(name) + 1 :]
    if not behind or behind[0] not in _VERBS:
        return []
    return [f"`wherry {name}` takes the name alone: wherry {name} {' '.join(behind[1:])}"]
