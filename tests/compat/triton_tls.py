"""One inference of the official client over TLS, synchronous and asyncio.

Usage: triton_tls.py HOST:PORT CA_PEM [KEY_PEM CERTIFICATE_PEM]
"""

import asyncio
import sys
from typing import Any

import tritonclient.grpc as sync
from triton_client import check_vectors, done, inputs
from tritonclient.grpc import aio

MODEL = "tiny"


async def call_aio(address: str, options: dict[str, Any]) -> None:
    async with aio.InferenceServerClient(address, **options) as client:
        check_vectors(await client.infer(MODEL, inputs(aio)))
    done("aio")


def main(address: str, authority: str, key: str | None = None, chain: str | None = None) -> None:
    options = {
        "ssl": True,
        "root_certificates": authority,
        "private_key": key,
        "certificate_chain": chain,
    }
    client = sync.InferenceServerClient(address, **options)
    check_vectors(client.infer(MODEL, inputs(sync)))
    client.close()
    done("sync")
    asyncio.run(call_aio(address, options))


if __name__ == "__main__":
    main(*sys.argv[1:])
