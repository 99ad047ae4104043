"""Certificates for tests, made by the openssl command."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, in PEM files."""

    cert: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """What makes a server use them."""
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    def replace(self, other: "Pair") -> None:
        """Put another pair in the place of this one."""
        other.key.replace(self.key)
        other.cert.replace(self.cert)


def make(directory: Path, name: str, issuer: Pair | None = None) -> Pair:
    """Make a certificate for 127.0.0.1, signed by the issuer or by itself."""
    if shutil.which("openssl") is None:
        assert os.environ.get("CI") != "true", "openssl is missing"
        pytest.skip("openssl is missing: apt-get install openssl")
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    signer = [] if issuer is None else ["-CA", str(issuer.cert), "-CAkey", str(issuer.key)]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(pair.key), "-out", str(pair.cert), *signer),
        ],
        check=True,
        capture_output=True,
    )
    return pair
