import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import InvalidDocument, WherryError
from wherry.model.config import History, chain_ids, parse_config
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.testing import build_image, document, tar_layer

QUICK = settings(max_examples=150, deadline=None)
DIFF_ID = "sha256:" + "b" * 64
CONFIG: dict[str, Any] = {
    "created": "2024-01-02T03:04:05.678Z",
    "author": "someone",
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "os.version": "1.2",
    "config": {
        "User": "1000:1000",
        "WorkingDir": "/srv",
        "Env": ["PATH=/bin", "EMPTY=", "BARE", "A=b=c"],
        "Entrypoint": ["/entry"],
        "Cmd": ["-x", "y"],
        "Labels": {"k": "v"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
    },
    "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
    "history": [
        {"created": "2024-01-01T00:00:00Z", "created_by": "ENV", "empty_layer": True},
        {"created": "2024-01-02T00:00:00Z", "created_by": "COPY", "author": "a", "comment": "c"},
    ],
}


def refused(value: object) -> InvalidDocument:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidDocument) as caught:
        parse_config(raw)
    return caught.value


def test_a_config_is_read() -> None:
    raw = document(CONFIG)
    config = parse_config(raw)
    assert config.raw is raw
    assert config.id == Digest.of(raw)
    assert config.platform == Platform("linux", "arm64", "v8", "1.2")
    assert (config.created, config.author) == ("2024-01-02T03:04:05.678Z", "someone")
    assert (config.user, config.working_dir, config.stop_signal) == ("1000:1000", "/srv", "SIGINT")
    assert config.env == {"PATH": "/bin", "EMPTY": "", "BARE": "", "A": "b=c"}
    assert (config.entrypoint, config.cmd) == (("/entry",), ("-x", "y"))
    assert config.labels == {"k": "v"}
    assert config.exposed_ports == ("80/tcp", "53/udp")
    assert config.volumes == ("/data",)
    assert config.diff_ids == (Digest.parse(DIFF_ID),)
    assert [entry.created_by for entry in config.history] == ["ENV", "COPY"]


def test_a_config_that_says_nothing_but_its_layers_is_good() -> None:
    config = parse_config(document({"rootfs": {"type": "layers", "diff_ids": []}}))
    assert (config.os, config.architecture, config.variant, config.created) == ("", "", "", "")
    assert (config.entrypoint, config.cmd, config.env, config.history) == (None, None, {}, ())


def test_nulls_count_as_absent() -> None:
    """Go's decoder leaves a field at its zero value where it finds a null; so do engines."""
    value = dict.fromkeys(CONFIG) | {"rootfs": {"type": None, "diff_ids": None}}
    config = parse_config(document(value))
    assert config.diff_ids == ()
    config = parse_config(document(CONFIG | {"config": dict.fromkeys(CONFIG["config"])}))
    assert (config.env, config.cmd, config.labels, config.volumes) == ({}, None, {}, ())


def test_a_command_may_be_one_string() -> None:
    config = parse_config(document(CONFIG | {"config": {"Cmd": "sh", "Entrypoint": []}}))
    assert config.cmd == ("sh",)
    assert config.entrypoint == ()


@pytest.mark.parametrize("value", [{}, {"rootfs": None}, {"os": "linux", "history": []}])
def test_a_config_without_rootfs_is_refused(value: object) -> None:
    """A config without ``rootfs`` is refused (OCI image spec, config.md)."""
    error = refused(value)
    assert error.path == "rootfs"
    assert "rootfs" in str(error)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"os": 1}, "os"),
        ({"architecture": ["amd64"]}, "architecture"),
        ({"variant": 8}, "variant"),
        ({"rootfs": []}, "rootfs"),
        ({"rootfs": {"diff_ids": {}}}, "rootfs.diff_ids"),
        ({"rootfs": {"diff_ids": [DIFF_ID, "sha256:x"]}}, "rootfs.diff_ids[1]"),
        ({"rootfs": {"diff_ids": [None]}}, "rootfs.diff_ids[0]"),
        ({"rootfs": {"diff_ids": [10**30]}}, "rootfs.diff_ids[0]"),
    ],
)
def test_a_bad_field_is_named_by_its_path(change: dict[str, object], path: str) -> None:
    assert refused(CONFIG | change).path == path


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"created": {}}, "created"),
        ({"created": "yesterday"}, "created"),
        ({"created": ""}, "created"),
        ({"created": "2024-13-01T00:00:00Z"}, "created"),
        ({"created": 1704164645}, "created"),
        ({"author": 10**40}, "author"),
        ({"config": []}, "config"),
        ({"config": "x"}, "config"),
        ({"config": {"User": 1000}}, "config.User"),
        ({"config": {"Env": "A=b"}}, "config.Env"),
        ({"config": {"Env": ["A=b", 5]}}, "config.Env[1]"),
        ({"config": {"Cmd": [1]}}, "config.Cmd[0]"),
        ({"config": {"Cmd": 1}}, "config.Cmd"),
        ({"config": {"Entrypoint": {"a": 1}}}, "config.Entrypoint"),
        ({"config": {"Labels": {"a": 1, "b": "x"}}}, "config.Labels.a"),
        ({"config": {"Labels": ["a=b"]}}, "config.Labels"),
        ({"config": {"Volumes": ["/a"]}}, "config.Volumes"),
        ({"config": {"ExposedPorts": ["80/tcp"]}}, "config.ExposedPorts"),
        ({"config": {"WorkingDir": False}}, "config.WorkingDir"),
        ({"os.features": "win32k"}, "os.features"),
        ({"history": {}}, "history"),
        ({"history": "x"}, "history"),
        ({"history": [{}, 1]}, "history[1]"),
        ({"history": [{"empty_layer": "true"}]}, "history[0].empty_layer"),
        ({"history": [{"created_by": ["a"]}]}, "history[0].created_by"),
        ({"history": [{"created": "never"}]}, "history[0].created"),
    ],
)
def test_a_field_of_the_wrong_type_is_a_problem(change: dict[str, object], path: str) -> None:
    """Other tools pull such images, since they do not read these fields."""
    config = parse_config(document(CONFIG | change))
    assert [problem.path for problem in config.problems] == [path]
    assert config.diff_ids == (Digest.parse(DIFF_ID),)


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2024-01-02T03:04:05.0123456789+02:00"},
        {"created": None},
        {"config": None},
        {"config": {"Env": None, "Labels": {"a": None}, "Healthcheck": 5, "x": 10**40}},
        {"config": {"Cmd": "sh"}},
        {"history": None},
        {"history": [None, {}]},
        {"x": 2**64, "y": [{"z": -(10**30)}]},
    ],
)
def test_values_that_every_engine_reads_are_accepted(change: dict[str, object]) -> None:
    assert parse_config(document(CONFIG | change)).problems == ()


def test_a_number_beyond_all_bounds_in_a_field_that_is_not_read() -> None:
    raw = document(CONFIG)[:-1] + b',"x":1e999999,"y":' + b"9" * 10_000 + b"}"
    assert parse_config(raw).problems == ()


def test_valid_values_beside_a_problem_are_read() -> None:
    wrong = {"Labels": {"a": 1, "b": "x"}, "Env": ["A=b", 5, "C=d"], "User": 5, "Cmd": ["sh"]}
    config = parse_config(document(CONFIG | {"config": wrong}))
    assert config.labels == {"b": "x"}
    assert config.env == {"A": "b", "C": "d"}
    assert (config.user, config.cmd) == ("", ("sh",))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"rootfs":{"diff_ids":[]},"rootfs":{"diff_ids":[]}}',
        b'{"rootfs":{"diff_ids":[]},"x":NaN}',
        b'{"rootfs":{"diff_ids":[]},"x":"\\ud800"}',
        b'{"rootfs":' * 100_000,
        b'{"rootfs":{"diff_ids":[]},"x":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"rootfs":{"diff_ids":[]}}' + b" " * (4 * 2**20),
    ],
    ids=range(8),
)
def test_json_that_is_not_strict_is_refused(raw: bytes) -> None:
    refused(raw)


def test_tools_may_nest_documents_of_their_own() -> None:
    value: Any = 1
    for _ in range(32):
        value = {"x": value}
    parse_config(document(value | {"rootfs": {"diff_ids": []}}))
    assert refused({"x": value} | {"rootfs": {"diff_ids": []}}).path.endswith("x.x")


def test_history_is_matched_with_layers() -> None:
    config = parse_config(document(CONFIG))
    assert [entry.created_by for entry in config.layer_history(1)] == ["COPY"]
    assert config.layer_history(3)[1:] == [History(), History()]
    assert config.layer_history(0) == []


def test_the_id_of_a_built_image_is_the_digest_of_its_config() -> None:
    """The image id is the digest of the config (OCI image spec, config.md, "ImageID")."""
    image = build_image([tar_layer({"a": b"a"})], env=["A=b"])
    config = parse_config(image.config.data)
    assert str(config.id) == image.id
    assert tuple(map(str, config.diff_ids)) == image.diff_ids


def test_chain_ids_by_hand() -> None:
    """OCI image spec, config.md, "Layer ChainID": ChainID(L0|…|Ln) is the digest of
    ChainID(L0|…|Ln-1) + " " + DiffID(Ln); ChainID(L0) = DiffID(L0).

    The figures are from a shell: printf '%s %s' CHAIN DIFF | sha256sum.
    """
    one, two, three = ("sha256:" + digit * 64 for digit in "123")
    expected = [
        one,
        "sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5",
        "sha256:50127c0d6b338be78246434b4bce23ecf75e505158ea0bbd15effeb162fbf3ec",
    ]
    found = [str(chain) for chain in chain_ids([Digest.parse(text) for text in (one, two, three)])]
    assert found == expected
    assert chain_ids([]) == []


@QUICK
@given(st.lists(st.binary(max_size=4).map(Digest.of), max_size=6))
def test_a_chain_id_depends_on_all_layers_below(diff_ids: list[Digest]) -> None:
    """OCI image spec, config.md, "Layer ChainID": the recursive definition."""
    chain = chain_ids(diff_ids)
    assert len(chain) == len(diff_ids)
    assert chain[:1] == diff_ids[:1]
    for below, diff_id, found in zip(chain, diff_ids[1:], chain[1:], strict=False):
        assert found.hex == hashlib.sha256(f"{below} {diff_id}".encode()).hexdigest()
    assert chain_ids(diff_ids[:-1]) == chain[:-1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@QUICK
@given(
    st.dictionaries(st.sampled_from(sorted(CONFIG)), json_values, max_size=2),
    st.dictionaries(st.sampled_from(sorted(CONFIG["config"])), json_values, max_size=2),
)
def test_any_config_is_good_or_refused(change: dict[str, Any], run: dict[str, Any]) -> None:
    """OCI image spec, config.md, "Properties": each is of its type, or the config is refused."""
    value = CONFIG | {"config": CONFIG["config"] | run} | change
    try:
        config = parse_config(json.dumps(value).encode("utf-8", "surrogatepass"))
    except WherryError as error:
        assert isinstance(error, InvalidDocument)  # noqa: PT017 - either outcome is allowed
    else:
        assert all(isinstance(text, str) for text in (config.os, config.created, *config.env))


def test_a_config_is_hashed_by_its_bytes() -> None:
    config, same = parse_config(document(CONFIG)), parse_config(document(CONFIG))
    other = parse_config(document(CONFIG | {"author": "another"}))
    assert {config: 1}[same] == 1
    assert len({config, same, other}) == 2
