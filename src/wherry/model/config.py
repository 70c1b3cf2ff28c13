"""Image configs (OCI image spec, config.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wherry.errors import InvalidDigest, InvalidDocument
from wherry.model._fields import Fields, load_object
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.problem import DocumentFault
from wherry.model.record import Record
from wherry.model.tolerant import TolerantFields

MAX_DEPTH = 32  # levels of nesting; some tools embed documents in configs


class History(Record):
    """A history entry of an image config.

    Attributes:
        created: RFC 3339 text as in the config.
        created_by: The command that made the layer.
        author: The author.
        comment: The comment.
        empty_layer: Whether the step made no layer.
    """

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Record):
    """The config of an image.

    Attributes:
        raw: The bytes of the config, whose digest is the image id.
        os, architecture, variant, os_version, os_features: The platform.
        created: RFC 3339 text as in the config.
        author: The author.
        user, working_dir, stop_signal: Settings for containers.
        env: Values by name.
        entrypoint, cmd: Commands; None if the config has none.
        labels: Values by name.
        exposed_ports, volumes: Names, such as ``80/tcp`` and ``/data``.
        diff_ids: The digests of the decompressed layers, bottom first.
        history: The steps that made the image, bottom first.
        problems: Fields that could not be read and have no value here.
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
    os_features: tuple[str, ...] = ()
    problems: tuple[DocumentFault, ...] = ()

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
        """The platform in the config."""
        return Platform(self.os, self.architecture, self.variant, self.os_version, self.os_features)

    def layer_history(self, count: int) -> list[History]:
        """Return an entry for each of ``count`` layers, if need be an empty one."""
        found = [entry for entry in self.history if not entry.empty_layer][:count]
        return found + [History()] * (count - len(found))


def parse_config(raw: bytes) -> ImageConfig:
    """Parse an image config.

    The platform and the DiffIDs must be valid. Other fields of a wrong type become problems of
    the config, since other tools pull such images.

    Raises:
        InvalidDocument: The config is invalid; the error has the path of the field.
    """
    fields = load_object(raw, "the image config", max_depth=MAX_DEPTH)
    rootfs = fields.object("rootfs")
    if rootfs is None:
        raise InvalidDocument("is missing: invalid rootfs in image configuration", path="rootfs")
    image = TolerantFields(fields)
    run = image.object("config")
    return ImageConfig(
        raw=raw,
        os=fields.text("os"),
        architecture=fields.text("architecture"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        created=image.time("created"),
        author=image.text("author"),
        user=run.text("User"),
        working_dir=run.text("WorkingDir"),
        env=env_of(run.texts("Env")),
        entrypoint=run.command("Entrypoint"),
        cmd=run.command("Cmd"),
        labels=run.text_map("Labels"),
        exposed_ports=run.keys("ExposedPorts"),
        volumes=run.keys("Volumes"),
        stop_signal=run.text("StopSignal"),
        diff_ids=_diff_ids(rootfs),
        history=tuple(_history(entry) for entry in image.objects("history")),
        os_features=tuple(image.texts("os.features")),
        problems=tuple(image.problems),
    )


def read_platform(raw: bytes) -> Platform:
    """Return the platform in an image config, without parsing the rest of it."""
    fields = load_object(raw, "the image config", max_depth=MAX_DEPTH)
    return Platform(
        fields.text("os"),
        fields.text("architecture"),
        fields.text("variant"),
        fields.text("os.version"),
        tuple(TolerantFields(fields).texts("os.features")),
    )


def env_of(entries: Iterable[str]) -> dict[str, str]:
    """Parse ``NAME=value`` entries; the last one of a name counts."""
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


def _history(entry: TolerantFields) -> History:
    return History(
        created=entry.time("created"),
        created_by=entry.text("created_by"),
        author=entry.text("author"),
        comment=entry.text("comment"),
        empty_layer=entry.flag("empty_layer"),
    )
