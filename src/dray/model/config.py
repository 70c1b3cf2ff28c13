"""Image configs: what is in an image and how to run it (OCI image spec, config.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dray.errors import InvalidDigest, InvalidDocument
from dray.model._fields import Fields, load_object
from dray.model.digest import Digest
from dray.model.platform import Platform
from dray.model.record import Record

MAX_DEPTH = 32  # levels of nesting; tools put documents of their own into configs


class History(Record):
    """How one layer came to be; ``empty_layer`` marks a step that made none."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Record):
    """An image's config; ``raw`` is what its digest, the image id, was made from.

    ``created`` is RFC 3339 text as written. ``env`` holds what stands before and after the
    first ``=``; ``entrypoint`` and ``cmd`` are None where the config has none.
    """

    raw: bytes
    os: str
    architecture: str
    variant: str
    os_version: str
    created: str
    author: str
    user: str
    working_dir: str
    env: Mapping[str, str]
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    labels: Mapping[str, str]
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str
    diff_ids: tuple[Digest, ...]
    history: tuple[History, ...]

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<ImageConfig {self.id}>"

    @property
    def id(self) -> Digest:
        """The image id."""
        return Digest.of(self.raw)

    @property
    def platform(self) -> Platform:
        """What the image runs on, as the config says."""
        return Platform(self.os, self.architecture, self.variant, self.os_version)

    def layer_history(self, count: int) -> list[History]:
        """Return one entry for each of ``count`` layers, empty ones where history is short."""
        found = [entry for entry in self.history if not entry.empty_layer][:count]
        return found + [History()] * (count - len(found))


def parse_config(raw: bytes) -> ImageConfig:
    """Read an image config; raises `InvalidDocument` with the path of the offending field."""
    fields = load_object(raw, "the image config", max_depth=MAX_DEPTH)
    rootfs = fields.object("rootfs")
    if rootfs is None:
        raise InvalidDocument("is missing: invalid rootfs in image configuration", path="rootfs")
    run = fields.object("config") or Fields({}, "config")
    return ImageConfig(
        raw=raw,
        os=fields.text("os"),
        architecture=fields.text("architecture"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        created=fields.text("created"),
        author=fields.text("author"),
        user=run.text("User"),
        working_dir=run.text("WorkingDir"),
        env=env_of(run.texts("Env")),
        entrypoint=_command(run, "Entrypoint"),
        cmd=_command(run, "Cmd"),
        labels=run.text_map("Labels"),
        exposed_ports=_keys(run, "ExposedPorts"),
        volumes=_keys(run, "Volumes"),
        stop_signal=run.text("StopSignal"),
        diff_ids=_diff_ids(rootfs),
        history=tuple(_history(entry) for entry in fields.objects("history")),
    )


def read_platform(raw: bytes) -> Platform:
    """Read what an image config says that the image runs on, and nothing else of it."""
    fields = load_object(raw, "the image config", max_depth=MAX_DEPTH)
    return Platform(
        fields.text("os"),
        fields.text("architecture"),
        fields.text("variant"),
        fields.text("os.version"),
    )


def env_of(entries: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=value`` entries; the last one of a name counts."""
    split = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in split}


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Return the ChainID of each layer (OCI image spec, config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def _diff_ids(rootfs: Fields) -> tuple[Digest, ...]:
    found = []
    for place, text in enumerate(rootfs.texts("diff_ids")):
        try:
            found.append(Digest.parse(text))
        except InvalidDigest as error:
            path = f"{rootfs.at('diff_ids')}[{place}]"
            raise InvalidDocument(error.message, path=path) from None
    return tuple(found)


def _history(entry: Fields) -> History:
    return History(
        created=entry.text("created"),
        created_by=entry.text("created_by"),
        author=entry.text("author"),
        comment=entry.text("comment"),
        empty_layer=entry.flag("empty_layer"),
    )


def _command(run: Fields, key: str) -> tuple[str, ...] | None:
    value: Any = run.value.get(key)
    if isinstance(value, str):  # engines read a plain string as a list of one
        return (value,)
    return None if value is None else run.texts(key)


def _keys(run: Fields, key: str) -> tuple[str, ...]:
    found = run.object(key)
    return () if found is None else tuple(found.value)
