"""A text server that does nothing but take a constant time: something to measure a generator on.

Started as a process of its own (`python load_stub.py --service-ms 2`); prints its port, and a
second line at its 100th call. Serves one model, `stub`.
"""

import argparse
import asyncio
import sys
import time

import grpc

from protos.heed.v1 import text_pb2, text_pb2_grpc

MODEL = "stub"
ANNOUNCED_CALL = 100


class Stub(text_pb2_grpc.TextServiceServicer):
    def __init__(self, service_s: float, slow_s: float) -> None:
        self._service_s = service_s, slow_s
        self._calls = 0

    async def Embed(  # noqa: N802  the name of the call
        self,
        request: text_pb2.EmbedRequest,
        context: "grpc.aio.ServicerContext[text_pb2.EmbedRequest, text_pb2.EmbedResponse]",
    ) -> text_pb2.EmbedResponse:
        begun_ns = time.monotonic_ns()
        self._calls += 1
        if self._calls == ANNOUNCED_CALL:
            say(f"call {ANNOUNCED_CALL}")
        if request.model != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model}")
        service_s = self._service_s[self._calls % 2]
        await asyncio.sleep(service_s)
        service_ns = round(service_s * 1e9)
        return text_pb2.EmbedResponse(
            model=request.model,
            embeddings=[
                text_pb2.Embedding(values=[0.5] * 4, num_tokens=len(text.split()) + 2)
                for text in request.texts
            ],
            timings=text_pb2.Timings(
                tokenize_ns=service_ns // 10,
                queue_ns=service_ns // 5,
                run_ns=service_ns // 2,
                total_ns=time.monotonic_ns() - begun_ns,
            ),
        )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(service_s: float, slow_s: float) -> None:
    server = grpc.aio.server()
    text_pb2_grpc.add_TextServiceServicer_to_server(Stub(service_s, slow_s), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(str(port))
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--service-ms", type=float, default=1.0)
    # The other half of the calls, when both halves shall differ.
    parser.add_argument("--slow-ms", type=float)
    options = parser.parse_args()
    slow_ms = options.service_ms if options.slow_ms is None else options.slow_ms
    asyncio.run(serve(options.service_ms / 1000, slow_ms / 1000))
