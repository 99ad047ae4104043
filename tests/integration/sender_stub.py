"""A tiny server for the sender, started as a process of its own; prints its port.

Model `stub` answers at once, `slow` after `--slow-s`, `wrong` without a vector, `turning` well at
first and then like `wrong`, `away` as a server that is not ready; it knows no other. A stream of
`held` is answered once, the next ones never. With `--keys` it wants `authorization: Bearer secret`.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from protos import inference_pb2, inference_pb2_grpc
from protos.heed.v1 import text_pb2, text_pb2_grpc

Context = Any
SERVED = {"stub", "slow", "wrong", "turning"}


class Text(text_pb2_grpc.TextServiceServicer):
    def __init__(self, slow_s: float, *, has_keys: bool) -> None:
        self._slow_s = slow_s
        self._has_keys = has_keys
        self._seen: set[str] = set()

    async def Embed(self, request: text_pb2.EmbedRequest, context: Context) -> Any:  # noqa: N802
        keys = [value for name, value in context.invocation_metadata() if name == "authorization"]
        if self._has_keys and keys != ["Bearer secret"]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such key")
        if request.model == "slow":
            await asyncio.sleep(self._slow_s)
        elif request.model == "away":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "still loading")
        elif request.model not in SERVED:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model}")
        is_wrong = request.model == "wrong" or self._is_later(request, "turning")
        return answer([] if is_wrong else request.texts)

    async def EmbedStream(self, requests: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        async for request in requests:
            if self._is_later(request, "held"):
                await asyncio.Event().wait()
            yield text_pb2.EmbedStreamResponse(response=answer(request.texts))

    def _is_later(self, request: text_pb2.EmbedRequest, model: str) -> bool:
        is_later = model == request.model and model in self._seen
        self._seen.add(request.model)
        return is_later


class Inference(inference_pb2_grpc.GRPCInferenceServiceServicer):
    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        if request.name != "stub":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
        tensor = inference_pb2.ModelMetadataResponse.TensorMetadata
        return inference_pb2.ModelMetadataResponse(
            name=request.name,
            inputs=[tensor(name="x", datatype="FP32", shape=[-1, 2])],
            outputs=[tensor(name="y", datatype="FP32", shape=[-1, 1])],
        )

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        context.set_trailing_metadata([("server-timing", "queue;dur=1, run;dur=2, total;dur=4")])
        rows = request.inputs[0].shape[0]
        output = inference_pb2.ModelInferResponse.InferOutputTensor
        return inference_pb2.ModelInferResponse(
            model_name=request.model_name,
            outputs=[output(name="y", datatype="FP32", shape=[rows, 1])],
            raw_output_contents=[bytes(4 * rows)],
        )


def answer(texts: Sequence[str]) -> text_pb2.EmbedResponse:
    return text_pb2.EmbedResponse(
        model="stub",
        embeddings=[text_pb2.Embedding(values=[0.5] * 4, num_tokens=3) for _ in texts],
        timings=text_pb2.Timings(tokenize_ns=1, queue_ns=2, run_ns=3, total_ns=10),
    )


async def serve(options: argparse.Namespace) -> None:
    server = grpc.aio.server()
    text = Text(options.slow_s, has_keys=options.keys)
    text_pb2_grpc.add_TextServiceServicer_to_server(text, server)
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(), server)
    address = f"127.0.0.1:{options.port}"
    if options.cert is None:
        port = server.add_insecure_port(address)
    else:
        pair = (options.key.read_bytes(), options.cert.read_bytes())
        callers = None if options.callers is None else options.callers.read_bytes()
        credentials = grpc.ssl_server_credentials(
            [pair], root_certificates=callers, require_client_auth=callers is not None
        )
        port = server.add_secure_port(address, credentials)
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slow-s", type=float, default=1.0)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--callers", type=Path)
    asyncio.run(serve(parser.parse_args()))
