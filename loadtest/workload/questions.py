"""One message for every call of heed.v1.TextService, from a model and lengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from loadtest.workload.asking import Model
from loadtest.workload.lengths import SHORTEST, SPECIAL_TOKENS
from loadtest.workload.methods import TEXT
from loadtest.workload.payload import Kind
from loadtest.workload.texts import Draws
from protos.heed.v1 import text_pb2 as pb

ASKED_TOKENS: Final = 8 + SPECIAL_TOKENS
"""Of a query or a question. It comes on top of the drawn lengths, which are the texts'."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a message is made of."""

    model: Model
    lengths: Sequence[int]
    """Tokens of each text, special tokens included."""
    draws: Draws

    def texts(self) -> list[str]:
        """Return a text of each length."""
        return [self.draws.text(tokens) for tokens in self.lengths]

    def asked(self) -> str:
        """Return what the texts are asked about."""
        return self.draws.other(ASKED_TOKENS)


@dataclass(frozen=True, slots=True)
class Call:
    """A method, and how its message is built."""

    method: str
    kind: Kind
    build: Callable[[Question], Message]

    def messages(self, question: Question) -> tuple[bytes, ...]:
        """Return the message of a unary call, or those of a stream, one text each."""
        if self.kind == "unary":
            return (self.build(question).SerializeToString(),)
        alone = (Question(question.model, (one,), question.draws) for one in question.lengths)
        return tuple(self.build(one).SerializeToString() for one in alone)


def _embed(of: Question) -> Message:
    return pb.EmbedRequest(model=of.model.name, texts=of.texts())


def _rerank(of: Question) -> Message:
    return pb.RerankRequest(model=of.model.name, query=of.asked(), texts=of.texts())


def _similarity(of: Question) -> Message:
    pairs = [
        pb.Input(text=of.draws.text(tokens), pair=of.draws.other(tokens)) for tokens in of.lengths
    ]
    return pb.SimilarityRequest(model=of.model.name, pairs=pairs)


def _classify(of: Question) -> Message:
    inputs = [pb.Input(text=text) for text in of.texts()]
    return pb.ClassifyRequest(model=of.model.name, inputs=inputs)


def _token_classify(of: Question) -> Message:
    return pb.TokenClassifyRequest(model=of.model.name, texts=of.texts())


def _answer_question(of: Question) -> Message:
    return pb.AnswerQuestionRequest(model=of.model.name, question=of.asked(), contexts=of.texts())


def _fill_mask(of: Question) -> Message:
    return pb.FillMaskRequest(
        model=of.model.name, texts=[_masked(of, tokens) for tokens in of.lengths]
    )


def _masked(of: Question, tokens: int) -> str:
    # A recorded length may leave no room for the one word that must be there.
    found = of.draws.text(max(tokens, SHORTEST)).split(" ")
    found[int(of.draws.others.integers(len(found)))] = of.model.mask
    return " ".join(found)


def _tokenize(of: Question) -> Message:
    return pb.TokenizeRequest(model=of.model.name, texts=of.texts())


def _detokenize(of: Question) -> Message:
    known, choose = of.model.word_ids, of.draws.others.integers
    sequences = [
        pb.TokenIds(ids=[known[place] for place in choose(0, len(known), tokens).tolist()])
        for tokens in of.lengths
    ]
    return pb.DetokenizeRequest(model=of.model.name, sequences=sequences)


def _explain(of: Question) -> Message:
    # One map for each text: the answer grows with the square of its length, not with the layers.
    inputs = [pb.Input(text=text) for text in of.texts()]
    return pb.ExplainRequest(model=of.model.name, inputs=inputs, method=pb.EXPLAIN_METHOD_MEAN)


CALLS: Final[dict[str, Call]] = {
    "embed": Call(TEXT + "Embed", "unary", _embed),
    "rerank": Call(TEXT + "Rerank", "unary", _rerank),
    "similarity": Call(TEXT + "Similarity", "unary", _similarity),
    "classify": Call(TEXT + "Classify", "unary", _classify),
    "token-classify": Call(TEXT + "TokenClassify", "unary", _token_classify),
    "answer-question": Call(TEXT + "AnswerQuestion", "unary", _answer_question),
    "fill-mask": Call(TEXT + "FillMask", "unary", _fill_mask),
    "tokenize": Call(TEXT + "Tokenize", "unary", _tokenize),
    "detokenize": Call(TEXT + "Detokenize", "unary", _detokenize),
    "explain": Call(TEXT + "Explain", "unary", _explain),
    "embed-stream": Call(TEXT + "EmbedStream", "stream", _embed),
    "rerank-stream": Call(TEXT + "RerankStream", "stream", _rerank),
    "classify-stream": Call(TEXT + "ClassifyStream", "stream", _classify),
}
"""Every kind of request but those of the Open Inference Protocol."""
