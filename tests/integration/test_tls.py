"""The encrypted port: who gets in, what a renewal changes, what keeps a server from starting."""

from collections.abc import Iterator
from pathlib import Path

import certificates
import grpc
import loopback
import pytest
from certificates import Pair
from loopback import Target, serve
from statuses import status
from waiting import until

from protos import inference_pb2 as oip
from protos import inference_pb2_grpc
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.rpc.tls import Certificates

PRIVATE = [("grpc.use_local_subchannel_pool", 1)]
KEPT = "the one before stays in force"


def code(target: Target, trusted: Pair | None, client: Pair | None = None) -> str:
    """Make one call on a new connection and return its status; trusting nobody is plaintext."""
    if trusted is None:
        channel = grpc.insecure_channel(target.address, options=PRIVATE)
    else:
        credentials = grpc.ssl_channel_credentials(
            trusted.cert.read_bytes(),
            client.key.read_bytes() if client else None,
            client.cert.read_bytes() if client else None,
        )
        channel = grpc.secure_channel(target.address, credentials, options=PRIVATE)
    with channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        return status(lambda: stub.ServerReady(oip.ServerReadyRequest(), timeout=10))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificates.make(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def mutual(
    repository: Path, authority: Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A server that only lets in clients whose certificate the authority signed."""
    pair = certificates.make(tmp_path_factory.mktemp("server"), "server", authority)
    with serve(repository, *pair.options, "--tls-client-ca", str(authority.cert)) as target:
        yield target


def test_client_of_the_authority_is_served(mutual: Target, authority: Pair, tmp_path: Path) -> None:
    client = certificates.make(tmp_path, "client", authority)

    assert code(mutual, authority, client) == "OK"


def test_client_without_a_certificate_is_not_let_in(mutual: Target, authority: Pair) -> None:
    assert code(mutual, authority) == "UNAVAILABLE"


def test_client_of_another_authority_is_not_let_in(
    mutual: Target, authority: Pair, tmp_path: Path
) -> None:
    assert code(mutual, authority, certificates.make(tmp_path, "stranger")) == "UNAVAILABLE"


def test_client_in_plaintext_is_not_let_in(mutual: Target) -> None:
    assert code(mutual, None) == "UNAVAILABLE"


def test_renewed_certificate_is_used_without_a_restart(repository: Path, tmp_path: Path) -> None:
    first = certificates.make(tmp_path, "first")
    with serve(repository, *first.options, "--tls-reload-s", "0.1") as target:
        assert code(target, first) == "OK"
        second = certificates.make(tmp_path, "second")
        trusted = Pair(tmp_path / "trusted.pem", second.key)
        trusted.cert.write_bytes(second.cert.read_bytes())
        first.replace(second)

        until(lambda: code(target, trusted) == "OK")


def test_broken_renewal_leaves_the_old_certificate_and_is_logged_once(
    repository: Path, tmp_path: Path
) -> None:
    pair = certificates.make(tmp_path, "server")
    trusted = Pair(tmp_path / "trusted.pem", pair.key)
    trusted.cert.write_bytes(pair.cert.read_bytes())
    with serve(repository, *pair.options, "--tls-reload-s", "0.1") as target:
        pair.cert.write_text("half a certifi")

        until(lambda: code(target, trusted) == "OK" and KEPT in target.log.read_text())
        assert [code(target, trusted) for _ in range(5)] == ["OK"] * 5
        assert target.log.read_text().count(KEPT) == 1


def problems(**files: Path) -> str:
    """Return what is wrong with options `tls_...`."""
    options = {f"tls_{name}": str(path) for name, path in files.items()}
    with pytest.raises(ConfigInvalid) as caught:
        Certificates(ServerConfig(**options))  # type: ignore[arg-type]  # all of them are texts
    return str(caught.value)


def test_key_of_another_certificate_is_refused(authority: Pair, tmp_path: Path) -> None:
    other = certificates.make(tmp_path, "other")

    assert f"{other.key}: is not the key of the certificate" in problems(
        cert=authority.cert, key=other.key
    )


def test_every_missing_or_garbled_file_is_named_at_once(tmp_path: Path) -> None:
    garbled = tmp_path / "garbled.pem"
    garbled.write_text("-----BEGIN NOTHING-----")

    found = problems(cert=tmp_path / "missing.pem", key=garbled, client_ca=garbled).splitlines()

    assert len(found) == 3
    assert found[0].endswith("missing.pem: No such file or directory")
    assert found[1].endswith("garbled.pem: holds no certificate in PEM format")
    assert found[2].endswith("garbled.pem: holds no private key in PEM format")


def test_damaged_key_is_refused(authority: Pair, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.key"
    damaged.write_text(authority.key.read_text().replace("M", "N"))

    assert f"--tls-key {damaged}: damaged" in problems(cert=authority.cert, key=damaged)


def test_encrypted_key_is_refused_without_asking(authority: Pair, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text(authority.key.read_text().replace("PRIVATE", "ENCRYPTED PRIVATE"))

    assert "store it without a passphrase" in problems(cert=authority.cert, key=encrypted)


def test_broken_files_of_certificate_and_keys_are_reported_together(
    repository: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("[[keys]]\nname = 'ci'\n")

    missing = str(tmp_path / "missing.pem")
    ended = loopback.run(
        repository, "--tls-cert", missing, "--tls-key", missing, "--api-keys", str(keys)
    )

    assert ended.returncode == 2
    assert f"--tls-cert {missing}: No such file" in ended.stderr
    assert "sha256 must be" in ended.stderr
    assert "Traceback" not in ended.stderr
