"""Instructions of a Dockerfile that change the config of an image.

They are parsed as by Docker's daemon (moby 28, ``builder/dockerfile``): the same instructions,
quotes, variables and JSON forms, and also ``HEALTHCHECK``.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidReference
from wherry.model.shell import expand, pairs, string_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_MAX_PORT = 65535
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 60 * _UNITS["m"]
_MAX_DURATION = 2**63  # nanoseconds: Go's time.Duration
_MAX_DIGITS = 18  # of a number of retries or of a signal
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_FLAG = re.compile(r"--([a-z-]+)=(\S*)\s*")
_SIGNAL = re.compile(  # signals of Linux (signal(7)) that Docker knows
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT"
    "|STOP|SYS|TERM|TRAP|TSTP|TTIN|TTOU|UNUSED|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ"
    r"|RTMIN(\+\d{1,2})?|RTMAX(-\d{1,2})?"
)
_NOT_TRIGGERS = {"ONBUILD", "FROM", "MAINTAINER"}


def apply_changes(config: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return the ``config`` of an image config with ``changes``, keys sorted.

    Raises:
        InvalidReference: A change does not parse.
    """
    run = _ContainerConfig({key: value for key, value in config.items() if value is not None})
    for change in changes:
        run.apply(change)
    return dict(sorted(run.fields.items()))


class _ContainerConfig:
    """The settings for containers of an image, to which instructions are applied."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self._has_cmd = False
        self._change = ""

    def apply(self, change: str) -> None:
        self._change = change
        if re.search("[\ud800-\udfff]", change):
            raise self._fail("is not UTF-8")
        lines = change.replace("\\\r\n", "").replace("\\\n", "").splitlines()
        wanted = [line.strip() for line in lines if line.strip() and line.lstrip()[0] != "#"]
        if not wanted:
            raise self._fail("there is no instruction in it")
        for line in wanted:
            name, _, rest = line.replace("\t", " ").partition(" ")
            rest = line[len(name) :].strip()
            instruction = _INSTRUCTIONS.get(name.upper())
            if instruction is None:
                raise self._fail(
                    f"{name} is not an instruction that changes a config",
                    hint=f"these do: {' '.join(_INSTRUCTIONS)}",
                )
            if not rest:
                raise self._fail(f"{name.upper()} needs a value")
            try:
                instruction(self, rest)
            except ValueError as error:
                raise self._fail(f"{name.upper()}: {error}") from None
            except RecursionError:
                raise self._fail(f"{name.upper()}: it is nested too deep") from None

    def _fail(self, message: str, hint: str = "") -> InvalidReference:
        shown = " ".join(self._change.split())[:200].encode("utf-8", "replace").decode()
        return InvalidReference(f"the change {shown!r}: {message}", text="", position=0, hint=hint)

    def _expand(self, text: str) -> str:
        env = (entry.partition("=") for entry in self.fields.get("Env") or [])
        return expand(text, {name: value for name, _, value in env})

    def _add(self, field: str, values: Iterable[str]) -> None:
        self.fields[field] = {**(self.fields.get(field) or {}), **{v: {} for v in values}}

    # Instructions; ``rest`` is the text after the name

    def _cmd(self, rest: str) -> None:
        self.fields["Cmd"] = _command(rest)
        self._has_cmd = True

    def _entrypoint(self, rest: str) -> None:
        """Set the entrypoint; drop the command of the old entrypoint."""
        self.fields["Entrypoint"] = _command(rest)
        if not self.fields["Entrypoint"]:
            del self.fields["Entrypoint"]
        if not self._has_cmd:
            self.fields.pop("Cmd", None)

    def _env(self, rest: str) -> None:
        env = list(self.fields.get("Env") or [])
        for name, value in [tuple(map(self._expand, pair)) for pair in pairs(rest)]:
            if not name:
                raise ValueError("a variable needs a name")
            at = [entry.partition("=")[0] for entry in env]
            if name in at:
                env[at.index(name)] = f"{name}={value}"
            else:
                env.append(f"{name}={value}")
        self.fields["Env"] = env

    def _expose(self, rest: str) -> None:
        found = [port for word in self._expand(rest).split() for port in _ports(word)]
        self._add("ExposedPorts", found)

    def _label(self, rest: str) -> None:
        labels = dict(self.fields.get("Labels") or {})
        for name, value in [tuple(map(self._expand, pair)) for pair in pairs(rest)]:
            if not name:
                raise ValueError("a label needs a name")
            labels[name] = value
        self.fields["Labels"] = dict(sorted(labels.items()))

    def _onbuild(self, rest: str) -> None:
        trigger = rest.split(maxsplit=1)[0].upper()
        if trigger in _NOT_TRIGGERS:
            raise ValueError(f"{trigger} is not allowed as a trigger")
        self.fields["OnBuild"] = [*(self.fields.get("OnBuild") or []), rest]

    def _stop_signal(self, rest: str) -> None:
        self.fields["StopSignal"] = _signal(self._expand(rest))

    def _user(self, rest: str) -> None:
        self.fields["User"] = self._expand(rest)

    def _volume(self, rest: str) -> None:
        listed = string_list(rest)
        words = [self._expand(word) for word in (rest.split() if listed is None else listed)]
        if not all(word.strip() for word in words) or not words:
            raise ValueError("a volume needs a path")
        self._add("Volumes", words)

    def _workdir(self, rest: str) -> None:
        path = self._expand(rest)
        if not path:
            raise ValueError("a directory needs a path")
        if not path.startswith("/"):
            path = posixpath.normpath(
                posixpath.join("/", self.fields.get("WorkingDir") or "", path)
            )
        self.fields["WorkingDir"] = path

    def _healthcheck(self, rest: str) -> None:
        options: dict[str, str] = {}
        while (flag := _FLAG.match(rest)) is not None:
            options[flag.group(1)] = flag.group(2)
            rest = rest[flag.end() :]
        kind, _, command = rest.partition(" ")
        if kind.upper() == "NONE":
            if options or command.strip():
                raise ValueError("NONE takes no arguments")
            self.fields["Healthcheck"] = {"Test": ["NONE"]}
            return
        if kind.upper() != "CMD":
            raise ValueError(f"unknown type {kind!r}, expected CMD or NONE")
        if not command.strip():
            raise ValueError("a command is missing after CMD")
        listed = string_list(command.strip())
        test = ["CMD-SHELL", command.strip()] if listed is None else ["CMD", *listed]
        self.fields["Healthcheck"] = {"Test": test} | _health_options(options)


_INSTRUCTIONS: dict[str, Callable[[_ContainerConfig, str], None]] = {
    "CMD": _ContainerConfig._cmd,  # noqa: SLF001 - a table of its own methods
    "ENTRYPOINT": _ContainerConfig._entrypoint,  # noqa: SLF001
    "ENV": _ContainerConfig._env,  # noqa: SLF001
    "EXPOSE": _ContainerConfig._expose,  # noqa: SLF001
    "HEALTHCHECK": _ContainerConfig._healthcheck,  # noqa: SLF001
    "LABEL": _ContainerConfig._label,  # noqa: SLF001
    "ONBUILD": _ContainerConfig._onbuild,  # noqa: SLF001
    "STOPSIGNAL": _ContainerConfig._stop_signal,  # noqa: SLF001
    "USER": _ContainerConfig._user,  # noqa: SLF001
    "VOLUME": _ContainerConfig._volume,  # noqa: SLF001
    "WORKDIR": _ContainerConfig._workdir,  # noqa: SLF001
}


def _command(rest: str) -> list[str]:
    """Return a command: a JSON list, or a text for the shell."""
    listed = string_list(rest)
    return [*_SHELL, rest] if listed is None else listed


def _ports(word: str) -> list[str]:
    """Return the ports of ``80``, ``80/udp``, ``8000-8010`` or ``HOST:CONTAINER``."""
    found = _PORT.fullmatch(word.rpartition(":")[2])
    if found is None:
        raise ValueError(f"{word!r} is not a port")
    first = int(found.group(1))
    last = int(found.group(2) or first)
    if not first <= last <= _MAX_PORT:
        raise ValueError(f"{word!r} is not a port or range of ports")
    protocol = (found.group(3) or "tcp").lower()
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _signal(text: str) -> str:
    name = text.upper().removeprefix("SIG")
    if not (_is_positive(text) or _SIGNAL.fullmatch(name)):
        raise ValueError(f"{text!r} is not a signal")
    return text


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) > 0


def _health_options(options: Mapping[str, str]) -> dict[str, int]:
    """Parse the flags of a health check; times become nanoseconds, as in the config."""
    fields = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    found = {}
    for name, text in options.items():
        if name in fields:
            found[fields[name]] = _duration(text)
        elif name == "retries":
            if not _is_positive(text):
                raise ValueError(f"--retries={text}: expected a number of 1 or more")
            found["Retries"] = int(text)
        else:
            raise ValueError(f"there is no flag --{name}")
    return {name: value for name, value in found.items() if value}


def _duration(text: str) -> int:
    """Parse a duration of Go, such as ``1m30s``, into nanoseconds."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s")
    nanoseconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if nanoseconds >= _MAX_DURATION:
        raise ValueError(f"{text[:40]!r} is longer than 292 years")
    total = round(nanoseconds)
    if 0 < total < _UNITS["ms"]:
        raise ValueError(f"{text!r} is less than 1ms")
    return total
