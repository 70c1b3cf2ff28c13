"""Settings from the environment: variables, default paths, and this machine's platform."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidReference, StoreError
from wherry.model.platform import Platform
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.model.cloud_settings import CloudSettings
    from wherry.model.transfer_settings import TransferSettings

MAX_EPOCH = 253402300799  # seconds from 1970 to the end of the year 9999

_SYSTEM = Path("/etc")
_CONTAINERS_ROOTS = (_SYSTEM / "containers", Path("/usr/share/containers"))

# Flags of /proc/cpuinfo that make up the levels of amd64 (x86-64 psABI, "Micro-Architecture
# Levels"), by the names that Linux gives them.
_AMD64_LEVELS = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)

# For each service of object storage: what its variables begin with, and those of its endpoint.
_CLOUDS = {
    "s3": ("AWS", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
    "gs": ("GOOGLE", ()),
    "az": ("AZURE", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}
_CLOUD_CLIENT = (
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
    "root_certificate",
    "user_agent",
)


class Config(Record):
    """Paths and defaults. The files may not exist.

    Attributes:
        store: The directory of the default store.
        auth_files: The files of credentials, in the order to read them.
        login_file: The file of credentials that `login` writes.
        auth_file_alone: ``REGISTRY_AUTH_FILE`` is set, and no other file is read.
        registries: The main files of registries.conf; only the first that exists is read.
        registries_drop_ins: The directories of further files; the first one wins.
        registries_named: An option or variable, and the file to read instead of all others.
        registries_last: A variable, and the file to read after all others.
        certificates: The roots of ``certs.d``.
        hosts: The hosts.toml files, the user's before the system's.
        proxies: The proxies for http and for https, the hosts without one, and the proxy for all
            schemes.
        proxy_names: The variables of the proxies for http, for https and for all schemes.
        authorities: A variable, and the path of the CA certificates that it names.
    """

    store: Path
    auth_files: tuple[Path, ...] = ()
    login_file: Path = Path("auth.json")
    auth_file_alone: bool = False
    registries: tuple[Path, ...] = ()
    registries_drop_ins: tuple[Path, ...] = ()
    registries_named: tuple[str, Path] | None = None
    registries_last: tuple[str, Path] | None = None
    certificates: tuple[Path, ...] = ()
    hosts: tuple[Path, ...] = ()
    proxies: tuple[str, str, str, str] = ("", "", "", "")
    proxy_names: tuple[str, str, str] = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    authorities: tuple[str, Path] | None = None

    def __repr__(self) -> str:  # the address of a proxy may contain a password
        return f"Config(store={str(self.store)!r})"

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str] | None = None, home: Path | None = None
    ) -> Config:
        """Read variables, by default those of the process.

        Args:
            env: The variables to read instead.
            home: The home directory to use instead.
        """
        env = os.environ if env is None else env
        home = _home(env) if home is None else home
        data = _base_directory(env, "XDG_DATA_HOME") or home / ".local" / "share"
        own = _base_directory(env, "XDG_CONFIG_HOME") or home / ".config"
        settings = own / "containers"
        files = _auth_files(env, home, settings)
        return cls(
            store=Path(env["WHERRY_STORE"]) if env.get("WHERRY_STORE") else data / "wherry",
            auth_files=files,
            login_file=_login_file(env, files),
            auth_file_alone=bool(env.get("REGISTRY_AUTH_FILE")),
            registries=tuple(root / "registries.conf" for root in (settings, *_CONTAINERS_ROOTS)),
            registries_drop_ins=_drop_ins(settings, os.getuid()),
            registries_named=_named_file(env, "CONTAINERS_REGISTRIES_CONF"),
            registries_last=_named_file(env, "CONTAINERS_REGISTRIES_CONF_OVERRIDE"),
            certificates=(
                settings / "certs.d",
                _SYSTEM / "containers" / "certs.d",
                _SYSTEM / "docker" / "certs.d",
            ),
            hosts=(own / "wherry" / "hosts.toml", _SYSTEM / "wherry" / "hosts.toml"),
            proxies=(
                _either(env, "HTTP_PROXY"),
                _either(env, "HTTPS_PROXY"),
                _either(env, "NO_PROXY"),
                _either(env, "ALL_PROXY"),
            ),
            proxy_names=(
                _spelled(env, "HTTP_PROXY"),
                _spelled(env, "HTTPS_PROXY"),
                _spelled(env, "ALL_PROXY"),
            ),
            authorities=_authorities(env),
        )

    def with_registries_conf(self, file: Path) -> Config:
        """Return a copy with another registries.conf, which must exist."""
        return self.replace(registries_named=("--registries-conf", file))


def transfer_settings(env: Mapping[str, str] | None = None) -> TransferSettings:
    """Read ``WHERRY_JOBS`` and the other variables that set how blobs are transferred.

    Raises:
        ValueError: A variable makes no sense; the message names it.
    """
    from wherry.model.transfer_settings import TransferSettings

    env = os.environ if env is None else env
    found: dict[str, Any] = {}
    for name, read in _TRANSFER_READERS.items():
        variable = f"WHERRY_{name.upper()}"
        text = env.get(variable, "").strip()
        try:
            found |= {name: read(text)} if text else {}
            TransferSettings().override(**found)
        except ValueError as error:
            raise ValueError(f"{variable} is {text!r}: {error}") from None
    return TransferSettings(**found)


def cloud_settings(
    settings: TransferSettings, env: Mapping[str, str] | None = None
) -> CloudSettings:
    """Read the variables of cloud services that set options of HTTP clients.

    obstore reads all others itself, such as ``AWS_ENDPOINT_URL`` and ``AWS_ACCESS_KEY_ID``.
    Plain http is allowed where a variable asks for it, or names an endpoint in http.

    Raises:
        StoreError: An endpoint is not a URL; the message names the variable.
    """
    from wherry.model.cloud_settings import CloudSettings

    env = os.environ if env is None else env
    client: dict[str, dict[str, str]] = {}
    for service, (prefix, endpoints) in _CLOUDS.items():
        variables = {name: f"{prefix}_{name.upper()}" for name in _CLOUD_CLIENT}
        found = {name: env[each] for name, each in variables.items() if env.get(each)}
        for endpoint in endpoints:
            named = re.match(r"(https?)://[^/]", env.get(endpoint) or "https://-")
            if named is None:
                raise StoreError(f"{endpoint} is not a URL of http or https")
            if named[1] == "http":
                found.setdefault("allow_http", "true")
        if settings.insecure:
            found |= {"allow_http": "true", "allow_invalid_certificates": "true"}
        client[service] = found
    return CloudSettings(settings.timeout, settings.retries, client)


def default_platform(env: Mapping[str, str] | None = None) -> str | None:
    """Return the platform in ``WHERRY_PLATFORM``, or else in ``DOCKER_DEFAULT_PLATFORM``.

    Raises:
        ValueError: The value does not parse; the message names the variable.
    """
    env = os.environ if env is None else env
    for variable in ("WHERRY_PLATFORM", "DOCKER_DEFAULT_PLATFORM"):
        text = env.get(variable, "").strip()
        if text:
            try:
                Platform.parse(text, host_platform())
            except InvalidReference as error:
                raise ValueError(f"{variable} is {text!r}: {error.message}") from None
            return text
    return None


def source_date_epoch(env: Mapping[str, str] | None = None) -> int | None:
    """Return the seconds since 1970 in ``SOURCE_DATE_EPOCH``; None if it is not set.

    The variable is that of reproducible-builds.org.

    Raises:
        ValueError: The value is not such a number; the message names the variable.
    """
    text = (os.environ if env is None else env).get("SOURCE_DATE_EPOCH", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= MAX_EPOCH):
        raise ValueError(f"SOURCE_DATE_EPOCH is {text[:80]!r}: expected seconds since 1970")
    return int(text)


def creation_time(created: int | None) -> int | None:
    """Return when an image is made: ``created``, else what ``SOURCE_DATE_EPOCH`` says.

    Raises:
        ValueError: The time is not in seconds since 1970; the message names its source.
    """
    if created is None:
        return source_date_epoch()
    if not 0 <= created <= MAX_EPOCH:
        raise ValueError(f"created is {created}, expected seconds since 1970")
    return created


def parse_rate(text: str) -> float:
    """Parse a rate in bytes a second: ``500000``, ``1.5M``, ``10MiB``.

    K, M and G are powers of 1,000; Ki, Mi and Gi are powers of 1,024.

    Raises:
        ValueError: The text is not a rate.
    """
    form = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMG]?)(i?)B?(?:/s)?"
    found = re.fullmatch(form, text.strip(), re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise ValueError("that is not a rate; write 500K, 1.5M or 10MiB (bytes a second)")
    base = 1024 if found[3] else 1000
    return float(found[1]) * float(base ** " KMG".index(found[2].upper() or " "))


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise ValueError("that is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) is None:
        raise ValueError("that is not a number of seconds")
    return float(text)


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError("that is neither 1 nor 0")
    return _FLAGS[text.lower()]


_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_TRANSFER_READERS: dict[str, Callable[[str], Any]] = {
    "jobs": _count,
    "timeout": _seconds,
    "retries": _count,
    "limit_rate": parse_rate,
    "split": _count,
    "insecure": _flag,
    "schema1": str,
    "legacy": _flag,
}


def _home(env: Mapping[str, str]) -> Path:
    """Return the home directory: ``HOME``, else the one in the user database, else ``/``.

    Container runtimes set ``HOME=/`` too for a user id that has no entry.
    """
    named = _base_directory(env, "HOME")
    if named is not None:
        return named
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        entry = ""
    return Path(entry) if entry.startswith("/") else Path("/")


def _base_directory(env: Mapping[str, str], name: str) -> Path | None:
    """Return the directory that a variable names; None for an empty or a relative path.

    XDG Base Directory Specification, "Basics": relative paths are invalid and are ignored.
    """
    text = env.get(name, "")
    return Path(text) if text.startswith("/") else None


def _auth_files(env: Mapping[str, str], home: Path, settings: Path) -> tuple[Path, ...]:
    """Return the files of credentials in order; ``REGISTRY_AUTH_FILE`` replaces all others."""
    if env.get("REGISTRY_AUTH_FILE"):
        return (Path(env["REGISTRY_AUTH_FILE"]),)
    runtime = _base_directory(env, "XDG_RUNTIME_DIR")
    run = Path(f"/run/containers/{os.getuid()}") if runtime is None else runtime / "containers"
    docker = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    return (
        run / "auth.json",
        settings / "auth.json",
        docker / "config.json",
        home / ".dockercfg",
    )


def _login_file(env: Mapping[str, str], files: tuple[Path, ...]) -> Path:
    """Return the first file, or the second if only root can make the directory of the first."""
    alone = len(files) == 1
    has_runtime = _base_directory(env, "XDG_RUNTIME_DIR") is not None
    return files[0] if alone or has_runtime or os.getuid() == 0 else files[1]


def _drop_ins(settings: Path, uid: int) -> tuple[Path, ...]:
    """Return the directories of drop-in files for registries.conf, the first one wins.

    The order is that of containers/image 5.40: the user's directory, then those of each system
    directory: for this user id, for root or for other users, and for all.
    """
    found = [settings / "registries.conf.d"]
    for root in _CONTAINERS_ROOTS:
        if uid:
            rootless = root / "registries.rootless.conf.d"
            found += [rootless / str(uid), rootless]
        else:
            found.append(root / "registries.rootful.conf.d")
        found.append(root / "registries.conf.d")
    return tuple(found)


def _named_file(env: Mapping[str, str], variable: str) -> tuple[str, Path] | None:
    return (variable, Path(env[variable])) if env.get(variable) else None


def _either(env: Mapping[str, str], name: str) -> str:
    """Return the value of a variable that may be written in lower case."""
    return env.get(_spelled(env, name), "")


def _spelled(env: Mapping[str, str], name: str) -> str:
    """Return the name of a variable: in lower case only if no other is set."""
    return name.lower() if not env.get(name) and env.get(name.lower()) else name


def _authorities(env: Mapping[str, str]) -> tuple[str, Path] | None:
    """Return the variable that names CA certificates, and its value."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if env.get(name):
            return name, Path(env[name])
    return None


@functools.cache
def host_platform() -> Platform:
    """Return the platform of this machine, with the micro-architecture level of amd64."""
    machine = os.uname()
    found = Platform(machine.sysname, machine.machine).normalized()
    if found.architecture == "amd64" and found.os == "linux":
        variant = _amd64_level(Path("/proc/cpuinfo"))
        return Platform(found.os, found.architecture, variant)
    return found


def _amd64_level(cpuinfo: Path) -> str:
    """Return ``v2`` to ``v4``, or "" for the first level or if the level is unknown."""
    try:
        with cpuinfo.open() as lines:
            line = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return ""
    flags, level = set(line.split()), ""
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        level = name
    return level
