"""One call of each method of the text service."""

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1.text_pb2_grpc import TextServiceStub


def embed(stub: TextServiceStub) -> None:
    request = pb.EmbedRequest(model="minilm", texts=["a cat", "a kitten", "interest rates"])
    for embedding in stub.Embed(request, timeout=5).embeddings:
        print(embedding.num_tokens, embedding.values[:3])


def rerank(stub: TextServiceStub) -> None:
    texts = ["Rates were raised in June.", "The cat sleeps.", "Inflation fell."]
    request = pb.RerankRequest(model="reranker", query="interest rates", texts=texts, top_n=2)
    for ranked in stub.Rerank(request, timeout=5).ranking:
        print(f"{ranked.score:.3f} {texts[ranked.index]}")


def similarity(stub: TextServiceStub) -> None:
    request = pb.SimilarityRequest(model="minilm", source="a cat", texts=["a kitten", "a bank"])
    print(stub.Similarity(request, timeout=5).scores)


def classify(stub: TextServiceStub) -> None:
    inputs = [pb.Input(text="What a film!"), pb.Input(text="It rains.", pair="It is dry.")]
    request = pb.ClassifyRequest(model="classifier", inputs=inputs, top_k=1)
    for classification in stub.Classify(request, timeout=5).classifications:
        for label in classification.labels:
            print(f"{label.score:.3f} {label.label}")


def token_classify(stub: TextServiceStub) -> None:
    request = pb.TokenClassifyRequest(model="tagger", texts=["Ada Lovelace lived in London."])
    for text in stub.TokenClassify(request, timeout=5).texts:
        print([(span.label, span.start, span.end, span.text) for span in text.spans])


def answer_question(stub: TextServiceStub) -> None:
    context = "The bridge was opened in 1932 and carries eight lanes."
    request = pb.AnswerQuestionRequest(
        model="reader", question="When was the bridge opened?", contexts=[context], top_k=2
    )
    for found in stub.AnswerQuestion(request, timeout=5).contexts:
        print([(answer.text, answer.score) for answer in found.answers])


def fill_mask(stub: TextServiceStub) -> None:
    request = pb.FillMaskRequest(model="filler", texts=["Bern is the capital of [MASK] ."], top_k=3)
    for text in stub.FillMask(request, timeout=5).texts:
        for mask in text.masks:
            print([(candidate.text, candidate.score) for candidate in mask.candidates])


def tokenize(stub: TextServiceStub) -> None:
    request = pb.TokenizeRequest(model="minilm", texts=["a cat"])
    for text in stub.Tokenize(request, timeout=5).texts:
        print([(token.id, token.piece, token.start, token.end) for token in text.tokens])


def detokenize(stub: TextServiceStub) -> None:
    request = pb.DetokenizeRequest(
        model="minilm", sequences=[pb.TokenIds(ids=[5, 6, 7])], skip_special_tokens=True
    )
    print(stub.Detokenize(request, timeout=5).texts)


def explain(stub: TextServiceStub) -> None:
    request = pb.ExplainRequest(
        model="explained",
        inputs=[pb.Input(text="a cat on a mat")],
        method=pb.EXPLAIN_METHOD_ROLLOUT,
    )
    for explanation in stub.Explain(request, timeout=5).explanations:
        size = len(explanation.tokens)
        for row, token in enumerate(explanation.tokens):
            weights = explanation.maps[0].weights[row * size : (row + 1) * size]
            print(f"{token.piece:>10}", " ".join(f"{weight:.2f}" for weight in weights))


def embed_stream(stub: TextServiceStub) -> None:
    texts = ["a cat", "a kitten", "interest rates"]
    requests = [pb.EmbedRequest(model="minilm", texts=[text], id=text) for text in texts]
    for answer in stub.EmbedStream(iter(requests), timeout=60):
        if answer.HasField("failure"):
            print(answer.failure.id, answer.failure.message)
        else:
            print(answer.response.id, answer.response.embeddings[0].values[:3])


def rerank_stream(stub: TextServiceStub) -> None:
    texts = ["The cat sleeps.", "Rates were raised."]
    requests = [
        pb.RerankRequest(model="reranker", query=query, texts=texts, id=query)
        for query in ("interest rates", "pets")
    ]
    for answer in stub.RerankStream(iter(requests), timeout=60):
        if answer.HasField("failure"):
            print(answer.failure.id, answer.failure.message)
        else:
            print(answer.response.id, texts[answer.response.ranking[0].index])


def classify_stream(stub: TextServiceStub) -> None:
    requests = [
        pb.ClassifyRequest(model="classifier", inputs=[pb.Input(text=text)], top_k=1, id=text)
        for text in ("What a film!", "I want my money back.")
    ]
    for answer in stub.ClassifyStream(iter(requests), timeout=60):
        if answer.HasField("failure"):
            print(answer.failure.id, answer.failure.message)
        else:
            print(answer.response.id, answer.response.classifications[0].labels[0].label)
