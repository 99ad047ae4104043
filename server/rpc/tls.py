"""The server's certificate: read, checked before gRPC sees it, and renewed without a restart.

gRPC says nothing about why it refuses a file, so everything is checked here first.
"""

import logging
import ssl
from pathlib import Path

import grpc

from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.rpc.watched import Watched

log = logging.getLogger(__name__)

READ_TRIES = 3
"""Files may be renewed while they are read; then they are read again."""


class Certificates:
    """The files behind the encrypted port. Any thread may ask for a renewal."""

    def __init__(self, config: ServerConfig) -> None:
        """Read and check the files.

        Raises:
            ConfigInvalid: lists every file that cannot be used, and why.
        """
        self._cert = Path(config.tls_cert)
        self._key = Path(config.tls_key)
        self._client_ca = Path(config.tls_client_ca) if config.tls_client_ca else None
        paths = [self._cert, self._key, *([self._client_ca] if self._client_ca else [])]
        self._watched = Watched(paths, config.tls_reload_s)
        self._initial = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that ask for a renewed certificate at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            self._renewed,  # type: ignore[arg-type]  # None is "no change", which the stubs forgot
            require_client_authentication=self._client_ca is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificate, none while the one in force stays; gRPC's threads call it."""
        if not self._watched.changed():
            return None
        try:
            configuration = self._read()
        except ConfigInvalid as error:
            log.error(  # noqa: TRY400  (the reason says it all)
                "the new certificate cannot be used; the one before stays in force",
                extra={"reason": str(error)},
            )
            return None
        log.info("the certificate was renewed", extra={"file": str(self._cert)})
        return configuration

    def _read(self) -> grpc.ServerCertificateConfiguration:
        for _ in range(READ_TRIES):
            cert, key, client_ca = self._contents()
            check_pair(self._cert, self._key)
            # The check reads the files by itself: it only counts for the bytes that stayed.
            if (cert, key, client_ca) == self._contents():
                return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)
        raise ConfigInvalid(f"--tls-cert {self._cert}: the file keeps changing; write it once")

    def _contents(self) -> tuple[bytes, bytes, bytes | None]:
        problems: list[str] = []
        cert = _read(self._cert, "--tls-cert", problems)
        key = _read(self._key, "--tls-key", problems)
        client_ca = _read(self._client_ca, "--tls-client-ca", problems) if self._client_ca else None
        for option, path, data in (
            ("--tls-cert", self._cert, cert),
            ("--tls-client-ca", self._client_ca, client_ca),
        ):
            if data and not _holds_certificates(data):
                problems.append(f"{option} {path}: holds no certificate in PEM format")
        if key and b"PRIVATE KEY-----" not in key:
            problems.append(f"--tls-key {self._key}: holds no private key in PEM format")
        if b"ENCRYPTED" in key:
            problems.append(f"--tls-key {self._key}: is encrypted; store it without a passphrase")
        if problems:
            raise ConfigInvalid("\n".join(problems))
        return cert, key, client_ca


def check_pair(cert: Path, key: Path) -> None:
    """Check that a certificate chain and a private key belong together.

    Raises:
        ConfigInvalid: they do not, or one of them is damaged.
    """
    try:
        # An empty passphrase keeps OpenSSL from asking for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigInvalid(
                f"--tls-key {key}: is not the key of the certificate in {cert}"
            ) from error
        raise ConfigInvalid(
            f"--tls-key {key}: damaged, or does not fit {cert} ({error.reason or error})"
        ) from error
    except OSError as error:
        raise ConfigInvalid(f"--tls-cert {cert}, --tls-key {key}: {error.strerror}") from error


def _read(path: Path, option: str, problems: list[str]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        problems.append(f"{option} {path}: {error.strerror}")
        return b""
    if not data:
        problems.append(f"{option} {path}: is empty")
    return data


def _holds_certificates(data: bytes) -> bool:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return False
    return True
