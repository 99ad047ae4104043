"""The typed tasks that a text bundle allows, connected to its tokenizer and batcher."""

from dataclasses import dataclass
from typing import TypeVar

from server.batching.packing import TokenSequence
from server.batching.submitter import Submitter
from server.config import ServerConfig
from server.errors import InvalidRequest
from server.metrics import ModelMetrics
from server.repository.bundle import Bundle
from server.repository.contract import require_text
from server.repository.manifest import Manifest
from server.tasks.answer_question import AnswerQuestion
from server.tasks.classify import Classify
from server.tasks.detokenize import Detokenize
from server.tasks.embed import Embed
from server.tasks.explain import Explain
from server.tasks.fill_mask import FillMask
from server.tasks.rerank import Rerank
from server.tasks.similarity import Similarity
from server.tasks.text_runner import TextRunner
from server.tasks.token_classify import TokenClassify
from server.tasks.tokenize import Tokenize
from server.text.tokenizer import Tokenizer

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class TextTasks:
    """What the text service can ask of one model. A task that it has no use for is None."""

    tokenizer: Tokenizer
    tokenize: Tokenize
    detokenize: Detokenize
    embed: Embed | None = None
    rerank: Rerank | None = None
    similarity: Similarity | None = None
    classify: Classify | None = None
    token_classify: TokenClassify | None = None
    answer_question: AnswerQuestion | None = None
    fill_mask: FillMask | None = None
    explain: Explain | None = None

    def close(self) -> None:
        """End the threads. No request may be inside."""
        if self.explain is not None:
            self.explain.close()
        self.tokenizer.close()


def connect(
    bundle: Bundle, batcher: Submitter[TokenSequence], metrics: ModelMetrics, config: ServerConfig
) -> TextTasks:
    """Open the tokenizer of a text bundle and connect the tasks that its outputs allow.

    Raises:
        BundleCorrupt: the tokenizer cannot be read, or the manifest lacks what a task needs.
    """
    manifest = bundle.manifest
    _, limits = require_text(manifest)
    tokenizer = Tokenizer(bundle.tokenizer_path, limits.max_tokens)
    runner = TextRunner(manifest, tokenizer, batcher, metrics, config.max_request_sequences)
    task, labels, attention = manifest.task, manifest.labels, manifest.explain
    return TextTasks(
        tokenizer=tokenizer,
        tokenize=Tokenize(runner),
        detokenize=Detokenize(runner),
        embed=Embed(manifest, runner) if task in {"embed", "sparse-embed"} else None,
        rerank=Rerank(manifest, runner) if task in {"rerank", "embed"} else None,
        similarity=Similarity(manifest, runner) if task == "embed" else None,
        classify=Classify(labels, runner) if labels and task in {"classify", "rerank"} else None,
        token_classify=TokenClassify(labels, runner)
        if labels and task == "token-classify"
        else None,
        answer_question=AnswerQuestion(runner) if task == "question-answer" else None,
        fill_mask=FillMask(manifest, runner) if task == "fill-mask" else None,
        explain=Explain(bundle, attention, tokenizer, metrics, config) if attention else None,
    )


def require_part(part: Part | None, call: str, manifest: Manifest) -> Part:
    """Return what answers a call of the text service.

    Raises:
        InvalidRequest: the model is for another task.
    """
    if part is None:
        raise InvalidRequest(
            f"model '{manifest.name}' is for {manifest.task}, which {call} does not do; "
            "send it tensors with ModelInfer, ModelMetadata lists them"
        )
    return part
