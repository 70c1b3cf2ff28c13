"""Pulls from a real registry with names, credentials, tokens, TLS and redirects."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry import Client, Event, NetworkError, Status, Unauthorized, WherryError
from wherry.testing import (
    BuiltImage,
    Cut,
    Distribution,
    Fault,
    TokenServer,
    build_image,
    make_certificate,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry

pytestmark = pytest.mark.peer("docker-registry")

PASSWORD = "correct horse"
TARS = [tar_layer(pseudo_random_files(seed, 40_000, 2)) for seed in range(8)]
IMAGE = build_image(TARS[:2])
OTHER = build_image(TARS[2:4])
# Another manifest with the same config and layers.
SAME_ID = build_image(TARS[:2], manifest_extra={"annotations": {"again": "yes"}})
WIDE = build_image(TARS)


class Watch:
    """Collect the events of a pull."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def outcome(self) -> list[str]:
        return [event.message for event in self.events if event.status is Status.DONE]

    @property
    def digests(self) -> list[str]:
        return [str(event.digest) for event in self.events if event.status is Status.DIGEST]


def whole_pull(repository: str, tag: str, image: BuiltImage) -> Counter[tuple[str, str, int]]:
    """Return the exact requests of one pull by tag."""
    root = f"/v2/{repository}"
    blobs = [("GET", f"{root}/blobs/{piece.digest}", 200) for piece in image.blobs()]
    return Counter(
        [
            ("HEAD", f"{root}/manifests/{tag}", 200),
            ("GET", f"{root}/manifests/{image.digest}", 200),
            *blobs,
        ]
    )


class TestNames:
    @pytest.fixture
    def name(self, distribution: Distribution, repository: str) -> str:
        distribution.push(repository, IMAGE, "t")
        distribution.clear()
        return f"{distribution.host}/{repository}"

    def test_by_tag(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert (str(image.id), str(image.digest)) == (IMAGE.id, IMAGE.digest)
        assert set(image.names) == {f"{name}:t", f"{name}@{IMAGE.digest}"}
        assert watch.outcome == [f"Downloaded newer image for {name}:t"]
        assert watch.digests == [IMAGE.digest]
        assert Counter(distribution.requests()) == whole_pull(repository, "t", IMAGE)

    def test_latest_without_a_tag(
        self, repository: str, client: Client, distribution: Distribution
    ) -> None:
        distribution.push(repository, IMAGE, "latest")
        image = client.pull(f"{distribution.host}/{repository}")
        assert f"{distribution.host}/{repository}:latest" in image.names

    def test_by_digest(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        image = client.pull(f"{name}@{IMAGE.digest}")
        assert str(image.id) == IMAGE.id
        assert image.names == (f"{name}@{IMAGE.digest}",)
        wanted = whole_pull(repository, "t", IMAGE)
        del wanted["HEAD", f"/v2/{repository}/manifests/t", 200]
        assert Counter(distribution.requests()) == wanted

    def test_by_tag_and_digest_the_digest_counts(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        distribution.push(repository, OTHER, "t")
        watch = Watch()
        image = client.pull(f"{name}:t@{IMAGE.digest}", on_event=watch)
        assert str(image.id) == IMAGE.id
        assert f"{name}@{IMAGE.digest}" in image.names
        assert watch.outcome == [f"Downloaded newer image for {name}:t@{IMAGE.digest}"]

    def test_by_tag_and_digest_again_is_up_to_date(
        self, name: str, client: Client, distribution: Distribution
    ) -> None:
        both = f"{name}:t@{IMAGE.digest}"
        client.pull(both)
        distribution.clear()
        watch = Watch()
        client.pull(both, on_event=watch)
        assert watch.outcome == [f"Image is up to date for {both}"]
        assert len(distribution.requests()) <= 1

    def test_again_is_one_head(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert str(image.id) == IMAGE.id
        assert watch.outcome == [f"Image is up to date for {name}:t"]
        assert watch.digests == [IMAGE.digest]
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/t", 200)]

    def test_again_by_the_command_is_one_head(
        self, name: str, repository: str, wherry: Wherry, distribution: Distribution
    ) -> None:
        first = wherry("pull", f"{name}:t")
        assert first.stderr.splitlines()[-2:] == [
            f"Digest: {IMAGE.digest}",
            f"Status: Downloaded newer image for {name}:t",
        ]
        distribution.clear()
        second = wherry("pull", f"{name}:t")
        assert second.returncode == 0
        assert second.stdout == first.stdout == f"{IMAGE.id}\n"
        assert second.stderr.splitlines()[-2:] == [
            f"Digest: {IMAGE.digest}",
            f"Status: Image is up to date for {name}:t",
        ]
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/t", 200)]

    def test_again_by_digest_asks_at_most_once(
        self, name: str, client: Client, store: library.Store, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.clear()
        watch = Watch()
        with Client(store=store) as fresh:
            fresh.pull(f"{name}@{IMAGE.digest}", on_event=watch)
        assert len(distribution.requests()) <= 1
        assert watch.outcome == [f"Image is up to date for {name}@{IMAGE.digest}"]

    def test_another_name_for_the_same_image_is_new(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.push(repository, IMAGE, "u")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:u", on_event=watch)
        assert watch.outcome == [f"Downloaded newer image for {name}:u"]
        assert set(image.names) == {f"{name}:t", f"{name}:u", f"{name}@{IMAGE.digest}"}
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/u", 200)]

    def test_the_same_id_under_a_new_digest_is_up_to_date(
        self,
        name: str,
        repository: str,
        client: Client,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        client.pull(f"{name}:t")
        assert (SAME_ID.id, SAME_ID.digest) != (IMAGE.id, IMAGE.digest)
        distribution.push(repository, SAME_ID, "t")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert watch.outcome == [f"Image is up to date for {name}:t"]
        assert (str(image.id), str(image.digest)) == (IMAGE.id, SAME_ID.digest)
        for digest in (IMAGE.digest, SAME_ID.digest):
            assert str(store.get(f"{name}@{digest}").id) == IMAGE.id
        assert not [path for _, path, _ in distribution.requests() if "/blobs/" in path]

    def test_a_moved_tag(
        self,
        name: str,
        repository: str,
        client: Client,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        client.pull(f"{name}:t")
        distribution.push(repository, OTHER, "t")
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert watch.outcome == [f"Downloaded newer image for {name}:t"]
        assert str(store.get(f"{name}:t").id) == OTHER.id == str(image.id)
        old = store.get(IMAGE.id)
        assert str(old.id) == IMAGE.id
        assert f"{name}:t" not in old.names

    def test_all_tags(
        self,
        name: str,
        repository: str,
        wherry: Wherry,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        distribution.push(repository, OTHER, "u", "v")
        done = wherry("pull", "--all-tags", name)
        assert done.returncode == 0, done.stderr
        assert Counter(done.stdout.split()) == Counter([IMAGE.id, OTHER.id, OTHER.id])
        lines = done.stderr.splitlines()
        digests = [line for line in lines if line.startswith("Digest: ")]
        assert Counter(digests) == Counter(
            [f"Digest: {IMAGE.digest}", *[f"Digest: {OTHER.digest}"] * 2]
        )
        states = [line for line in lines if line.startswith("Status: ")]
        assert states == [f"Status: Downloaded newer image for {name}"]
        for tag, image in (("t", IMAGE), ("u", OTHER), ("v", OTHER)):
            assert str(store.get(f"{name}:{tag}").id) == image.id

    def test_all_tags_go_with_bare_names_alone(self, name: str, wherry: Wherry) -> None:
        done = wherry("pull", "--all-tags", f"{name}:t")
        assert done.returncode == 2
        assert done.stdout == ""

    def test_two_names_in_one_command(
        self, name: str, repository: str, wherry: Wherry, distribution: Distribution
    ) -> None:
        distribution.push(repository, OTHER, "u")
        done = wherry("pull", f"{name}:t", f"{name}:u")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{IMAGE.id}\n{OTHER.id}\n"
        states = [line for line in done.stderr.splitlines() if line.startswith("Status: ")]
        assert states == [
            f"Status: Downloaded newer image for {name}:t",
            f"Status: Downloaded newer image for {name}:u",
        ]

    def test_shared_layers_are_fetched_once(
        self, repository: str, client: Client, distribution: Distribution
    ) -> None:
        name = f"{distribution.host}/{repository}"
        distribution.push(repository, build_image([TARS[0], TARS[1], TARS[0]]), "twice")
        distribution.push(repository, build_image([TARS[0], TARS[4]]), "base")
        distribution.clear()
        client.pull(f"{name}:twice")
        client.pull(f"{name}:base")
        blobs = Counter(path for _, path, _ in distribution.requests() if "/blobs/" in path)
        assert len(blobs) == 5  # three layers, two configs
        assert set(blobs.values()) == {1}


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_auth(file: Path, auths: dict[str, dict[str, str]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"auths": auths}))
    return file


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
        file = write_auth(tmp_path / "auth.json", {key: entry("me", PASSWORD)})
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
        done = wherry("pull", "--authfile", str(write_auth(tmp_path / "a.json", auths)), name)
        assert done.returncode == 0, done.stderr

    def test_bad_authfile_entries(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path
    ) -> None:
        file = write_auth(tmp_path / "auth.json", {guarded.host: entry("me", "no")})
        assert wherry("pull", "--authfile", str(file), name).returncode == 4
        write_auth(file, {"elsewhere.example": entry("me", PASSWORD)})
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
        write_auth(directory / rest if rest else directory, {guarded.host: entry("me", PASSWORD)})
        assert wherry("pull", name).returncode == 4
        done = wherry("pull", name, env={variable: str(directory)})
        assert done.returncode == 0, done.stderr

    def test_the_order_of_files(
        self, name: str, wherry: Wherry, guarded: Distribution, tmp_path: Path
    ) -> None:
        good, bad = {guarded.host: entry("me", PASSWORD)}, {guarded.host: entry("me", "no")}
        home = tmp_path / "home"
        docker = write_auth(home / ".docker" / "config.json", good)
        assert wherry("pull", name).returncode == 0
        settings = write_auth(home / "config" / "containers" / "auth.json", bad)
        assert wherry("pull", name).returncode == 4
        run = write_auth(home / "run" / "containers" / "auth.json", good)
        assert wherry("pull", name).returncode == 0
        # This file is the only one: missing entries are not read from others.
        alone = write_auth(tmp_path / "alone.json", {})
        assert wherry("pull", name, env={"REGISTRY_AUTH_FILE": str(alone)}).returncode == 4
        write_auth(alone, bad)
        done = wherry("pull", "--authfile", str(run), name, env={"REGISTRY_AUTH_FILE": str(alone)})
        assert done.returncode == 0
        done = wherry("pull", "--creds", "me:no", "--authfile", str(docker), name)
        assert done.returncode == 4
        assert settings.exists()


class TokenRegistry:
    """A registry that requires tokens, and its token server."""

    def __init__(self, registry: Distribution, tokens: TokenServer) -> None:
        self.registry = registry
        self.tokens = tokens

    def name(self, repository: str) -> str:
        return f"{self.registry.host}/{repository}:t"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenRegistry]:
    with (
        TokenServer(
            users={"me": PASSWORD}, public=["pub/app"], refresh_tokens={"identity": "me"}
        ) as tokens,
        Distribution(tmp_path_factory.mktemp("tokens"), tokens=tokens) as registry,
    ):
        registry.push("pub/app", WIDE, "t")
        registry.push("private/app", WIDE, "t")
        yield TokenRegistry(registry, tokens)


class TestTokens:
    @pytest.fixture
    def guarded(self, servers: TokenRegistry) -> TokenRegistry:
        servers.registry.clear()
        servers.tokens.clear()
        servers.tokens.grants.issued = 0
        return servers

    def test_public_images_need_no_credentials(
        self, guarded: TokenRegistry, client: Client
    ) -> None:
        assert str(client.pull(guarded.name("pub/app")).id) == WIDE.id
        assert guarded.tokens.issued == 1
        request = guarded.tokens.requests[0]
        assert "scope=repository%3Apub%2Fapp%3Apull" in request.path
        assert "authorization" not in request.headers
        # After one refusal, every request has the token.
        assert [line for line in guarded.registry.requests() if line[2] == 401] == [
            ("HEAD", "/v2/pub/app/manifests/t", 401)
        ]

    def test_a_second_pull_needs_no_second_token(
        self, guarded: TokenRegistry, client: Client
    ) -> None:
        client.pull(guarded.name("pub/app"))
        client.pull(guarded.name("pub/app"))
        assert guarded.tokens.issued == 1

    def test_each_repository_has_its_token(
        self, guarded: TokenRegistry, store: library.Store
    ) -> None:
        with Client(store=store, credentials=("me", PASSWORD)) as client:
            client.pull(guarded.name("pub/app"))
            client.pull(guarded.name("private/app"))
        assert guarded.tokens.issued == 2

    def test_private_images_need_credentials(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "-q", guarded.name("private/app"))
        assert done.returncode == 4
        first, *hints = done.stderr.splitlines()
        assert f"{guarded.registry.host}/private/app" in first
        assert hints

    def test_a_user_may(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "--creds", f"me:{PASSWORD}", guarded.name("private/app"))
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{WIDE.id}\n"
        assert guarded.tokens.issued == 1
        assert guarded.tokens.requests[0].headers["authorization"].startswith("Basic ")

    def test_a_bad_password(self, guarded: TokenRegistry, store: library.Store) -> None:
        with (
            Client(store=store, credentials=("me", "no")) as client,
            pytest.raises(Unauthorized) as caught,
        ):
            client.pull(guarded.name("private/app"))
        assert caught.value.host == guarded.registry.host
        assert guarded.tokens.issued == 0
        assert len(guarded.tokens.requests) == 1  # a refused password is not sent again

    def test_a_bad_password_exits_with_4(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "-q", "--creds", "me:no", guarded.name("pub/app"))
        assert done.returncode == 4
        assert "401" in done.stderr.splitlines()[0]

    def test_an_identity_token(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        auth = {"auth": "", "identitytoken": "identity"}
        file = write_auth(tmp_path / "auth.json", {guarded.registry.host: auth})
        done = wherry("pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 0, done.stderr
        assert [request.method for request in guarded.tokens.requests] == ["POST"]
        assert b"refresh_token=identity" in guarded.tokens.requests[0].body
        assert guarded.tokens.issued == 1

    def test_an_identity_token_with_a_user_name(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        # `docker login` writes the user "<token>" without a password.
        auth = entry("<token>", "") | {"identitytoken": "identity"}
        file = write_auth(tmp_path / "auth.json", {guarded.registry.host: auth})
        done = wherry("pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 0, done.stderr

    def test_an_identity_token_that_is_not_known(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        auth = {"identitytoken": "revoked-identity"}
        file = write_auth(tmp_path / "auth.json", {guarded.registry.host: auth})
        done = wherry("--debug", "pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 4
        assert "revoked-identity" not in done.stdout + done.stderr

    def test_tokens_that_live_for_a_second(self, tmp_path: Path, client: Client) -> None:
        with (
            TokenServer(public=True, expires_in=1) as tokens,
            Distribution(tmp_path / "registry", tokens=tokens) as registry,
        ):
            registry.push("app", WIDE, "t")
            client.pull(f"{registry.host}/app:t")
            assert tokens.issued == 1

    def test_tokens_that_are_refused_do_not_go_round_in_circles(
        self, tmp_path: Path, client: Client
    ) -> None:
        with (
            TokenServer(public=True, expires_in=-1000) as tokens,
            Distribution(tmp_path / "registry", tokens=tokens) as registry,
        ):
            with pytest.raises(RuntimeError, match="401"):
                registry.push("app", IMAGE, "t")
            with pytest.raises(Unauthorized):
                client.pull(f"{registry.host}/app:t")
            assert tokens.issued <= 4


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(
    authority: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Distribution]:
    _, certificate, key = authority
    root = tmp_path_factory.mktemp("secure")
    with Distribution(root, tls=(certificate, key), htpasswd={"me": PASSWORD}) as registry:
        registry.push("app", IMAGE, "t")
        yield registry


class TestTls:
    @pytest.fixture
    def name(self, secure: Distribution) -> str:
        secure.clear()
        return f"{secure.host}/app:t"

    def test_a_certificate_that_is_not_trusted(
        self, name: str, wherry: Wherry, secure: Distribution, store: library.Store
    ) -> None:
        done = wherry("pull", "-q", "--creds", f"me:{PASSWORD}", name)
        assert done.returncode == 6
        first, *hints = done.stderr.splitlines()
        assert "certificate" in first
        assert secure.host in first
        assert any("SSL_CERT_FILE" in hint for hint in hints)
        assert secure.requests() == []
        assert store.images() == []

    def test_a_certificate_that_is_not_trusted_by_the_library(
        self, name: str, store: library.Store
    ) -> None:
        with (
            Client(store=store, credentials=("me", PASSWORD)) as client,
            pytest.raises(NetworkError) as caught,
        ):
            client.pull(name)
        assert not caught.value.transient

    def test_its_authority_in_ssl_cert_file(
        self, name: str, wherry: Wherry, authority: tuple[Path, Path, Path]
    ) -> None:
        env = {"SSL_CERT_FILE": str(authority[0])}
        done = wherry("pull", "--creds", f"me:{PASSWORD}", name, env=env)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{IMAGE.id}\n"

    def test_insecure(self, name: str, wherry: Wherry) -> None:
        done = wherry("pull", "--insecure", "--creds", f"me:{PASSWORD}", name)
        assert done.returncode == 0, done.stderr

    def test_insecure_without_tls(
        self, distribution: Distribution, repository: str, wherry: Wherry
    ) -> None:
        distribution.push(repository, IMAGE, "t")
        done = wherry("pull", "--insecure", f"{distribution.host}/{repository}:t")
        assert done.returncode == 0, done.stderr

    def test_a_certificate_for_another_host(self, tmp_path: Path, wherry: Wherry) -> None:
        authority, certificate, key = make_certificate(tmp_path / "certs", ["other.example"])
        with Distribution(tmp_path / "registry", tls=(certificate, key)) as registry:
            registry.push("app", IMAGE, "t")
            registry.clear()
            env = {"SSL_CERT_FILE": str(authority)}
            done = wherry("pull", "-q", f"{registry.host}/app:t", env=env)
            assert done.returncode == 6
            assert "certificate" in done.stderr.splitlines()[0]
            assert registry.requests() == []
            done = wherry("pull", "--insecure", f"{registry.host}/app:t", env=env)
            assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    root = tmp_path_factory.mktemp("behind")
    with Distribution(root, redirect=True, htpasswd={"me": PASSWORD}) as registry:
        registry.push("app", WIDE, "t")
        yield registry


@pytest.mark.usefixtures("environment")
class TestRedirects:
    @pytest.fixture
    def registry(self, behind: Distribution) -> Distribution:
        behind.clear()
        assert behind.storage is not None
        behind.storage.clear()
        return behind

    @pytest.fixture
    def user(self, store: library.Store) -> Iterator[Client]:
        with Client(store=store, credentials=("me", PASSWORD)) as client:
            yield client

    def test_blobs_come_from_the_storage_without_credentials(
        self, registry: Distribution, user: Client
    ) -> None:
        assert registry.storage is not None
        assert str(user.pull(f"{registry.host}/app:t").id) == WIDE.id
        got = registry.storage.requests
        assert len(got) == len(WIDE.layers) + 1
        assert all(request.method == "GET" and request.status == 200 for request in got)
        assert not [request for request in got if "authorization" in request.headers]
        assert PASSWORD not in str(got)
        asked = Counter(line for line in registry.requests() if "/blobs/" in line[1])
        assert asked == Counter(
            ("GET", f"/v2/app/blobs/{piece.digest}", 307) for piece in WIDE.blobs()
        )

    def test_a_cut_is_resumed_through_the_redirect(
        self, registry: Distribution, user: Client
    ) -> None:
        assert registry.storage is not None
        layer = max(WIDE.layers, key=lambda piece: piece.size)
        path = f"/{layer.digest.removeprefix('sha256:')}/"
        registry.storage.inject(Fault(Cut(after=5000), path=path, times=1))
        assert str(user.pull(f"{registry.host}/app:t").id) == WIDE.id
        first, second = [request for request in registry.storage.requests if path in request.path]
        assert "range" not in first.headers
        assert second.headers["range"] == "bytes=5000-"
        assert second.status == 206
        assert "authorization" not in second.headers

    def test_a_storage_that_is_gone_is_a_network_error(
        self, tmp_path: Path, client: Client
    ) -> None:
        with Distribution(tmp_path / "registry", redirect=True) as registry:
            registry.push("app", IMAGE, "t")
            assert registry.storage is not None
            registry.storage.close()
            with (
                Client(store=client.store, retries=1) as once,
                pytest.raises(WherryError) as caught,
            ):
                once.pull(f"{registry.host}/app:t")
        assert isinstance(caught.value, NetworkError)
        assert client.store.images() == []
