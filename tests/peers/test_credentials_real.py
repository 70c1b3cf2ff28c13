"""Pulls from a real registry that requires a user name and password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wherry as library
from auth_files import entry, write_file
from wherry import Client, Unauthorized
from wherry.testing import Distribution, build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry

pytestmark = pytest.mark.peer("docker-registry")

PASSWORD = "correct horse"
TARS = [tar_layer(pseudo_random_files(seed, 40_000, 2)) for seed in range(2)]
IMAGE = build_image(TARS)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    root = tmp_path_factory.mktemp("guarded")
    with Distribution(root, htpasswd={"me": PASSWORD}) as registry:
        registry.push("team/app", IMAGE, "t")
        yield registry


class TestBasic:
    @pytest.fixture
    def name(self, guarded: Distribution) -> str:
        guarded.clear()
        return f"{guarded.host}/team/app:t"

    def test_good(self, name: str, wherry: Wherry, guarded: Distribution) -> None:
        done = wherry("pull", "--creds", f"me:{PASSWORD}", name)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{IMAGE.id}\n"
        refused = [line for line in guarded.requests() if line[2] == 401]
        assert len(refused) == 1  # after the first refusal it sends them at once

    def test_good_by_the_library(self, name: str, store: library.Store) -> None:
        with Client(store=store, credentials=("me", PASSWORD)) as client:
            assert str(client.pull(name).id) == IMAGE.id

    @pytest.mark.parametrize("given", [f"me:{PASSWORD}x", f"you:{PASSWORD}", "me:"])
    def test_bad(self, name: str, wherry: Wherry, store: library.Store, given: str) -> None:
        done = wherry("pull", "-q", "--creds", given, name)
        assert done.returncode == 4
        assert done.stdout == ""
        assert "access denied" in done.stderr
        assert store.images() == []

    def test_bad_by_the_library(
        self, name: str, store: library.Store, guarded: Distribution
    ) -> None:
        with (
            Client(store=store, credentials=("me", "no")) as client,
            pytest.raises(Unauthorized) as caught,
        ):
            client.pull(name)
        assert caught.value.host == guarded.host
        # No retries: one request without credentials, one with them, at most one more.
        assert len(guarded.requests()) <= 4

    def test_missing(self, name: str, wherry: Wherry, guarded: Distribution) -> None:
        done = wherry("pull", "-q", name)
        assert done.returncode == 4
        first, *hints = done.stderr.splitlines()
        assert first.startswith("wherry: ")
        assert guarded.host in first
        assert f"wherry login {guarded.host}" in hints[0]
        assert f"wherry why {name.rpartition(':')[0]}" in hints[0]

    @pytest.mark.parametrize(
        "key", ["{host}", "{host}/team", "{host}/team/app", "http://{host}/v1/"]
    )
    def test_authfile_keys(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path, key: str
    ) -> None:
        key = key.format(host=guarded.host)
        file = write_file(tmp_path / "auth.json", {"auths": {key: entry("me", PASSWORD)}})
        done = wherry("pull", "--authfile", str(file), name)
        assert done.returncode == 0, done.stderr

    def test_the_longest_key_counts(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path
    ) -> None:
        auths = {
            guarded.host: entry("me", "no"),
            f"{guarded.host}/team/app": entry("me", PASSWORD),
            f"{guarded.host}/team": entry("me", "no"),
        }
        done = wherry(
            "pull", "--authfile", str(write_file(tmp_path / "a.json", {"auths": auths})), name
        )
        assert done.returncode == 0, done.stderr

    def test_bad_authfile_entries(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path
    ) -> None:
        file = write_file(tmp_path / "auth.json", {"auths": {guarded.host: entry("me", "no")}})
        assert wherry("pull", "--authfile", str(file), name).returncode == 4
        write_file(file, {"auths": {"elsewhere.example": entry("me", PASSWORD)}})
        assert wherry("pull", "--authfile", str(file), name).returncode == 4
        file.write_text("{")
        done = wherry("pull", "-q", "--authfile", str(file), name)
        assert done.returncode == 1
        assert str(file) in done.stderr.splitlines()[0]
        assert wherry("pull", "--authfile", str(tmp_path / "none"), name).returncode == 2

    @pytest.mark.parametrize(
        "place",
        [
            "XDG_RUNTIME_DIR/containers/auth.json",
            "XDG_CONFIG_HOME/containers/auth.json",
            "HOME/.docker/config.json",
            "DOCKER_CONFIG/config.json",
            "REGISTRY_AUTH_FILE",
        ],
    )
    def test_files_that_are_there_already(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path, place: str
    ) -> None:
        variable, _, rest = place.partition("/")
        directory = tmp_path / "set" / variable
        write_file(
            directory / rest if rest else directory,
            {"auths": {guarded.host: entry("me", PASSWORD)}},
        )
        assert wherry("pull", name).returncode == 4
        done = wherry("pull", name, env={variable: str(directory)})
        assert done.returncode == 0, done.stderr

    def test_the_order_of_files(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path
    ) -> None:
        good, bad = {guarded.host: entry("me", PASSWORD)}, {guarded.host: entry("me", "no")}
        home = tmp_path / "home"
        docker = write_file(home / ".docker" / "config.json", {"auths": good})
        assert wherry("pull", name).returncode == 0
        settings = write_file(home / "config" / "containers" / "auth.json", {"auths": bad})
        assert wherry("pull", name).returncode == 4
        run = write_file(home / "run" / "containers" / "auth.json", {"auths": good})
        assert wherry("pull", name).returncode == 0
        # This file is the only one: missing entries are not read from others.
        alone = write_file(tmp_path / "alone.json", {"auths": {}})
        assert wherry("pull", name, env={"REGISTRY_AUTH_FILE": str(alone)}).returncode == 4
        write_file(alone, {"auths": bad})
        done = wherry("pull", "--authfile", str(run), name, env={"REGISTRY_AUTH_FILE": str(alone)})
        assert done.returncode == 0
        done = wherry("pull", "--creds", "me:no", "--authfile", str(docker), name)
        assert done.returncode == 4
        assert settings.exists()
