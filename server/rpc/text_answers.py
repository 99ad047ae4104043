"""What text tasks return, as messages; and what requests ask for, as the tasks take it."""

from collections.abc import Sequence

from protos.heed.v1 import text_pb2 as pb
from server.errors import InvalidRequest
from server.rpc.text_messages import add_floats, texts, tokens
from server.tasks.answer_question import Answered, QuestionOptions
from server.tasks.classify import Classified, in_inputs
from server.tasks.embed import Embedded
from server.tasks.fill_mask import Filled
from server.tasks.rerank import Reranked, RerankOptions, Transform
from server.tasks.similarity import Compared
from server.tasks.token_classify import Tagged
from server.text.detokenizer import Detokenizer
from server.text.pooling import sparse
from server.text.scores import VectorSimilarity
from server.text.spans import Aggregation
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Named, Text, in_texts

SIMILARITIES = {
    pb.VECTOR_SIMILARITY_UNSPECIFIED: None,
    pb.VECTOR_SIMILARITY_COSINE: VectorSimilarity.COSINE,
    pb.VECTOR_SIMILARITY_DOT: VectorSimilarity.DOT,
}
TRANSFORMS = {
    pb.SCORE_TRANSFORM_UNSPECIFIED: None,
    pb.SCORE_TRANSFORM_RAW: Transform.RAW,
    pb.SCORE_TRANSFORM_SIGMOID: Transform.SIGMOID,
}
NAMED_TRANSFORMS = {
    Transform.RAW: pb.SCORE_TRANSFORM_RAW,
    Transform.SIGMOID: pb.SCORE_TRANSFORM_SIGMOID,
}
AGGREGATIONS = {
    pb.AGGREGATION_UNSPECIFIED: Aggregation.SIMPLE,
    pb.AGGREGATION_NONE: Aggregation.NONE,
    pb.AGGREGATION_SIMPLE: Aggregation.SIMPLE,
    pb.AGGREGATION_FIRST: Aggregation.FIRST,
    pb.AGGREGATION_AVERAGE: Aggregation.AVERAGE,
    pb.AGGREGATION_MAX: Aggregation.MAX,
}
KINDS = {
    "single": pb.LABEL_KIND_SINGLE,
    "multi": pb.LABEL_KIND_MULTI,
    "regression": pb.LABEL_KIND_REGRESSION,
}


def similarity(value: pb.VectorSimilarity) -> VectorSimilarity | None:
    """Return how vectors are compared, None where the caller does not say."""
    if value not in SIMILARITIES:
        raise InvalidRequest(f"similarity {value} is unknown; use 0 to {max(SIMILARITIES)}")
    return SIMILARITIES[value]


def aggregation(value: pb.Aggregation) -> Aggregation:
    """Return how tokens become spans."""
    if value not in AGGREGATIONS:
        raise InvalidRequest(f"aggregation {value} is unknown; use 0 to {max(AGGREGATIONS)}")
    return AGGREGATIONS[value]


def rerank_options(request: pb.RerankRequest) -> RerankOptions:
    """Return what a request chooses."""
    if request.transform not in TRANSFORMS:
        raise InvalidRequest(
            f"transform {request.transform} is unknown; use 0 to {max(TRANSFORMS)}"
        )
    return RerankOptions(
        transform=TRANSFORMS[request.transform],
        similarity=similarity(request.similarity),
        temperature=request.temperature if request.HasField("temperature") else 1.0,
        top_n=request.top_n if request.HasField("top_n") else None,
    )


def question_options(request: pb.AnswerQuestionRequest) -> QuestionOptions:
    """Return what a request chooses."""
    options = QuestionOptions()
    return QuestionOptions(
        top_k=request.top_k if request.HasField("top_k") else options.top_k,
        max_answer_tokens=request.max_answer_tokens
        if request.HasField("max_answer_tokens")
        else options.max_answer_tokens,
        stride=request.stride if request.HasField("stride") else None,
        may_decline=request.handle_impossible,
    )


def compared(request: pb.SimilarityRequest) -> Compared:
    """Return what a request compares."""
    for index, one in enumerate(request.pairs):
        if not one.HasField("pair"):
            raise InvalidRequest(f"pairs[{index}].pair is missing; send what to compare with")
    return Compared(
        request.source if request.HasField("source") else None,
        request.texts,
        [(one.text, one.pair) for one in request.pairs],
    )


def to_tokenize(request: pb.TokenizeRequest) -> tuple[Sequence[Text], Named]:
    """Return what a request wants tokenised, and what errors call it."""
    if request.texts and request.inputs:
        raise InvalidRequest("send texts or inputs, not both")
    if request.inputs:
        return texts(request.inputs), in_inputs
    return request.texts, in_texts


def add_embeddings(
    response: pb.EmbedResponse,
    embedded: Embedded,
    terms: Detokenizer | None = None,
    *,
    is_sparse: bool = False,
) -> None:
    """Add the vectors of texts; sparse ones with their terms where a detokenizer is given."""
    for vector, text in zip(embedded.vectors, embedded.texts, strict=True):
        embedding = response.embeddings.add(num_tokens=len(text), truncated=text.truncated)
        if not is_sparse:
            add_floats(embedding, pb.Embedding.VALUES_FIELD_NUMBER, vector)
            continue
        indices, values = sparse(vector)
        known = indices.tolist()
        embedding.sparse.indices.extend(known)
        add_floats(embedding.sparse, pb.SparseEmbedding.VALUES_FIELD_NUMBER, values)
        if terms is not None:
            embedding.sparse.terms.extend(map(terms.piece, known))
    if embedded.tokens is not None:
        for embedding, vectors, text in zip(
            response.embeddings, embedded.tokens, embedded.texts, strict=True
        ):
            embedding.tokens.dimensions = vectors.shape[-1]
            embedding.tokens.ids.extend(text.ids)
            add_floats(embedding.tokens, pb.TokenEmbeddings.VALUES_FIELD_NUMBER, vectors.ravel())


def add_ranking(response: pb.RerankResponse, reranked: Reranked, request: pb.RerankRequest) -> None:
    """Add scores, weights and ranking."""
    response.transform = NAMED_TRANSFORMS[reranked.transform]
    response.num_tokens = reranked.num_tokens
    response.truncated.extend(reranked.truncated)
    add_floats(response, pb.RerankResponse.SCORES_FIELD_NUMBER, reranked.scores)
    add_floats(response, pb.RerankResponse.WEIGHTS_FIELD_NUMBER, reranked.weights)
    for index in reranked.ranking:
        response.ranking.add(
            index=index,
            score=reranked.scores[index],
            weight=reranked.weights[index],
            text=request.texts[index] if request.return_texts else "",
        )


def classification(classified: Classified, *, logits: bool) -> pb.Classification:
    """Return the labels of one input."""
    return pb.Classification(
        labels=[
            pb.LabelScore(label=one.label, score=one.score, index=one.index, holds=one.holds)
            for one in classified.labels
        ],
        logits=classified.logits.tolist() if logits else (),
        num_tokens=len(classified.text),
        truncated=classified.text.truncated,
    )


def tagged_text(tagged: Tagged, text: str) -> pb.TaggedText:
    """Return the spans of one text."""
    return pb.TaggedText(
        spans=[
            pb.TextSpan(
                label=span.label,
                score=span.score,
                start=span.start,
                end=span.end,
                text=text[span.start : span.end],
            )
            for span in tagged.spans
        ],
        num_tokens=len(tagged.text),
        truncated=tagged.text.truncated,
    )


def context_answers(answered: Answered) -> pb.ContextAnswers:
    """Return the answers of one context."""
    return pb.ContextAnswers(
        answers=[
            pb.Answer(text=one.text, score=one.score, start=one.start, end=one.end)
            for one in answered.answers
        ],
        num_windows=answered.num_windows,
        num_tokens=answered.num_tokens,
    )


def filled_text(filled: Filled) -> pb.FilledText:
    """Return the masks of one text."""
    return pb.FilledText(
        masks=[
            pb.FilledMask(
                candidates=[
                    pb.MaskCandidate(id=one.id, piece=one.piece, text=one.text, score=one.score)
                    for one in mask.candidates
                ],
                start=mask.start,
                end=mask.end,
            )
            for mask in filled.masks
        ],
        num_tokens=len(filled.text),
        truncated=filled.text.truncated,
    )


def tokenized_text(text: TokenizedText) -> pb.TokenizedText:
    """Return the tokens of one text or pair."""
    return pb.TokenizedText(tokens=tokens(text), truncated=text.truncated)
