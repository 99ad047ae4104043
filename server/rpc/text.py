"""The text service: one short method per call, no decisions."""

from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc as pb_grpc
from server import request as requests
from server.errors import ServeError
from server.registry import Registry
from server.rpc import text_answers as answers
from server.rpc import text_explain
from server.rpc import text_messages as messages
from server.rpc.status import code_of
from server.tasks.explain import Asked, require_explain
from server.tasks.model import LoadedModel
from server.tasks.text_tasks import Part, TextTasks, require_part
from server.text.detokenizer import Detokenizer
from server.text.scores import VectorSimilarity

Context = grpc.aio.ServicerContext[Any, Any]

STREAMED = {
    "EmbedStream": pb.EmbedStreamResponse,
    "RerankStream": pb.RerankStreamResponse,
    "ClassifyStream": pb.ClassifyStreamResponse,
}


class _Request(Protocol):
    """What every request names."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def priority(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Call:
    """One call and the model that it asks."""

    envelope: requests.Request
    model: LoadedModel
    tasks: TextTasks

    def names(self) -> dict[str, Any]:
        """Return what every response names."""
        manifest = self.model.manifest
        version = str(manifest.version)
        return {"model": manifest.name, "version": version, "id": self.envelope.id}

    def require(self, task: Part | None, name: str) -> Part:
        return require_part(task, name, self.model.manifest)

    def timings(self) -> pb.Timings:
        return messages.timings(self.envelope)


class TextService(pb_grpc.TextServiceServicer):
    """Texts in, typed answers out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        del context
        call = self._begin(request, "Embed")
        embed = call.require(call.tasks.embed, "Embed")
        embedded = await embed.run(
            request.texts,
            messages.truncation(request.truncation),
            request.dimensions if request.HasField("dimensions") else None,
            per_token=request.per_token,
        )
        response = pb.EmbedResponse(**call.names())
        terms = Detokenizer(call.tasks.tokenizer) if request.terms else None
        answers.add_embeddings(response, embedded, terms, is_sparse=embed.is_sparse)
        response.timings.CopyFrom(call.timings())
        return response

    async def Rerank(self, request: pb.RerankRequest, context: Context) -> pb.RerankResponse:
        del context
        call = self._begin(request, "Rerank")
        reranked = await call.require(call.tasks.rerank, "Rerank").run(
            request.query,
            request.texts,
            messages.truncation(request.truncation),
            answers.rerank_options(request),
        )
        response = pb.RerankResponse(**call.names())
        answers.add_ranking(response, reranked, request)
        response.timings.CopyFrom(call.timings())
        return response

    async def Similarity(
        self, request: pb.SimilarityRequest, context: Context
    ) -> pb.SimilarityResponse:
        del context
        call = self._begin(request, "Similarity")
        similar = await call.require(call.tasks.similarity, "Similarity").run(
            answers.compared(request),
            messages.truncation(request.truncation),
            answers.similarity(request.similarity) or VectorSimilarity.COSINE,
            request.dimensions if request.HasField("dimensions") else None,
        )
        return pb.SimilarityResponse(
            **call.names(),
            scores=similar.scores.tolist(),
            num_tokens=similar.num_tokens,
            truncated=similar.truncated,
            timings=call.timings(),
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        del context
        call = self._begin(request, "Classify")
        classify = call.require(call.tasks.classify, "Classify")
        classified = await classify.run(
            messages.texts(request.inputs),
            messages.truncation(request.truncation),
            request.top_k if request.HasField("top_k") else None,
            request.threshold if request.HasField("threshold") else None,
        )
        return pb.ClassifyResponse(
            **call.names(),
            kind=answers.KINDS[classify.labels.kind],
            classifications=[
                answers.classification(one, logits=request.return_logits) for one in classified
            ],
            timings=call.timings(),
        )

    async def TokenClassify(
        self, request: pb.TokenClassifyRequest, context: Context
    ) -> pb.TokenClassifyResponse:
        del context
        call = self._begin(request, "TokenClassify")
        tagged = await call.require(call.tasks.token_classify, "TokenClassify").run(
            request.texts,
            messages.truncation(request.truncation),
            answers.aggregation(request.aggregation),
            frozenset(request.ignored_labels),
        )
        return pb.TokenClassifyResponse(
            **call.names(),
            texts=map(answers.tagged_text, tagged, request.texts),
            timings=call.timings(),
        )

    async def AnswerQuestion(
        self, request: pb.AnswerQuestionRequest, context: Context
    ) -> pb.AnswerQuestionResponse:
        del context
        call = self._begin(request, "AnswerQuestion")
        answered = await call.require(call.tasks.answer_question, "AnswerQuestion").run(
            request.question, request.contexts, answers.question_options(request)
        )
        return pb.AnswerQuestionResponse(
            **call.names(),
            contexts=map(answers.context_answers, answered),
            timings=call.timings(),
        )

    async def FillMask(self, request: pb.FillMaskRequest, context: Context) -> pb.FillMaskResponse:
        del context
        call = self._begin(request, "FillMask")
        filled = await call.require(call.tasks.fill_mask, "FillMask").run(
            request.texts,
            messages.truncation(request.truncation),
            request.top_k if request.HasField("top_k") else None,
            request.targets,
        )
        return pb.FillMaskResponse(
            **call.names(), texts=map(answers.filled_text, filled), timings=call.timings()
        )

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        del context
        call = self._begin(request, "Tokenize")
        texts, named = answers.to_tokenize(request)
        tokenized = await call.tasks.tokenize.run(
            texts, messages.truncation(request.truncation), named
        )
        return pb.TokenizeResponse(
            **call.names(), texts=map(answers.tokenized_text, tokenized), timings=call.timings()
        )

    async def Detokenize(
        self, request: pb.DetokenizeRequest, context: Context
    ) -> pb.DetokenizeResponse:
        del context
        call = self._begin(request, "Detokenize")
        texts = await call.tasks.detokenize.run(
            [one.ids for one in request.sequences], skip_special=request.skip_special_tokens
        )
        return pb.DetokenizeResponse(**call.names(), texts=texts, timings=call.timings())

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        del context
        call = self._begin(request, "Explain")
        explained = await require_explain(call.tasks.explain, call.model.manifest).run(
            messages.texts(request.inputs),
            messages.truncation(request.truncation),
            Asked(text_explain.method(request.method), request.layers, request.heads),
        )
        response = text_explain.response(explained)
        response.MergeFrom(pb.ExplainResponse(**call.names(), timings=call.timings()))
        return response

    async def EmbedStream(
        self, request: pb.EmbedRequest, context: Context
    ) -> pb.EmbedStreamResponse:
        return pb.EmbedStreamResponse(response=await self.Embed(request, context))

    async def RerankStream(
        self, request: pb.RerankRequest, context: Context
    ) -> pb.RerankStreamResponse:
        return pb.RerankStreamResponse(response=await self.Rerank(request, context))

    async def ClassifyStream(
        self, request: pb.ClassifyRequest, context: Context
    ) -> pb.ClassifyStreamResponse:
        return pb.ClassifyStreamResponse(response=await self.Classify(request, context))

    def failed(
        self, method: str, request: _Request, error: ServeError, context: Context
    ) -> Message:
        """Answer a failed request of a stream, which goes on."""
        del context
        code: int = code_of(error).value[0]
        failure = pb.Failure(id=request.id, code=code, message=str(error))
        return STREAMED[method.rpartition("/")[2]](failure=failure)

    def _begin(self, request: _Request, name: str) -> _Call:
        envelope = requests.current.get()
        envelope.id, envelope.priority = request.id, request.priority
        model = self._registry.get(request.model, request.version)
        return _Call(envelope, model, require_part(model.text, name, model.manifest))
