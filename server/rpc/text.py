"""The text service: one short method per call, no decisions."""

from time import monotonic
from typing import Any

import grpc

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc as pb_grpc
from server import request as requests
from server.errors import InvalidRequest
from server.registry import Registry
from server.tasks.embed import Embedded
from server.tasks.model import LoadedModel
from server.tasks.text_tasks import TextTasks, require_part
from server.text.tokenizer import TokenizedText, Truncation

Context = grpc.aio.ServicerContext[Any, Any]

NS = 1_000_000_000
TRUNCATIONS = {
    pb.TRUNCATION_UNSPECIFIED: Truncation.REFUSE,
    pb.TRUNCATION_KEEP_START: Truncation.KEEP_START,
    pb.TRUNCATION_KEEP_END: Truncation.KEEP_END,
}


class TextService(pb_grpc.TextServiceServicer):
    """Texts in, typed answers out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        del context
        call = requests.current.get()
        call.id = request.id
        model = self._registry.get(request.model, request.version)
        dimensions = request.dimensions if request.HasField("dimensions") else None
        embed = require_part(_tasks(model, "Embed").embed, "Embed", model.manifest)
        embedded = await embed.run(request.texts, _truncation(request.truncation), dimensions)
        return pb.EmbedResponse(
            model=model.manifest.name,
            version=str(model.manifest.version),
            id=request.id,
            embeddings=[_embedding(one) for one in embedded],
            timings=_timings(call),
        )

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        del context
        requests.current.get().id = request.id
        model = self._registry.get(request.model, request.version)
        tokenize = _tasks(model, "Tokenize").tokenize
        tokenized = await tokenize.run(request.texts, _truncation(request.truncation))
        return pb.TokenizeResponse(
            model=model.manifest.name,
            version=str(model.manifest.version),
            id=request.id,
            texts=[_tokens(text) for text in tokenized],
        )


def _tasks(model: LoadedModel, call: str) -> TextTasks:
    return require_part(model.text, call, model.manifest)


def _truncation(value: pb.Truncation) -> Truncation:
    if value not in TRUNCATIONS:
        raise InvalidRequest(f"truncation {value} is unknown; use 0 to {max(TRUNCATIONS)}")
    return TRUNCATIONS[value]


def _embedding(embedded: Embedded) -> pb.Embedding:
    return pb.Embedding(
        values=embedded.vector.tolist(),
        num_tokens=embedded.num_tokens,
        truncated=embedded.truncated,
    )


def _tokens(text: TokenizedText) -> pb.TokenizedText:
    encoding = text.encoding
    columns = zip(
        encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True
    )
    return pb.TokenizedText(
        tokens=[
            pb.Token(id=token, piece=piece, start=start, end=end, special=bool(special))
            for token, piece, (start, end), special in columns
        ],
        truncated=text.truncated,
    )


def _timings(call: requests.Request) -> pb.Timings:
    timings = call.timings
    return pb.Timings(
        tokenize_ns=int(timings.tokenize_s * NS),
        queue_ns=int(timings.queue_s * NS),
        run_ns=int(timings.run_s * NS),
        total_ns=int((monotonic() - call.started) * NS),
        batch_sequences=timings.batch_sequences,
        batch_tokens=timings.batch_tokens,
    )
