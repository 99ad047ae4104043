"""The typed tasks that a text bundle allows, connected to its tokenizer and batcher."""

from dataclasses import dataclass
from typing import TypeVar

from server.batching.batcher import Batcher
from server.batching.packing import TokenSequence
from server.config import ServerConfig
from server.errors import InvalidRequest
from server.metrics import ModelMetrics
from server.repository.bundle import Bundle
from server.repository.contract import require_text
from server.repository.manifest import Manifest
from server.tasks.embed import Embed
from server.tasks.tokenize import Tokenize
from server.text.tokenizer import Tokenizer

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class TextTasks:
    """What the text service can ask of one model. A task that it has no use for is None."""

    tokenizer: Tokenizer
    tokenize: Tokenize
    embed: Embed | None = None

    def close(self) -> None:
        """End the threads. No request may be inside."""
        self.tokenizer.close()


def connect(
    bundle: Bundle, batcher: Batcher[TokenSequence], metrics: ModelMetrics, config: ServerConfig
) -> TextTasks:
    """Open the tokenizer of a text bundle and connect the tasks that its outputs allow.

    Raises:
        BundleCorrupt: the tokenizer cannot be read.
    """
    manifest, most = bundle.manifest, config.max_request_sequences
    text, limits = require_text(manifest)
    tokenizer = Tokenizer(bundle.tokenizer_path, limits.max_tokens)
    embed = None
    if manifest.task == "embed" and manifest.pooling is not None:
        first = text.position_offset
        embed = Embed(manifest.pooling, first, tokenizer, batcher, metrics, max_texts=most)
    return TextTasks(tokenizer, Tokenize(tokenizer, most), embed)


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
