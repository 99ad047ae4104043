"""Texts to attention: check, tokenise, run the explaining graph of the bundle, put maps together.

The graph computes every probability of every layer, so it has a session and a thread of its own
beside the batches, opened by the first call: most models are never asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from server import request as requests
from server.batching.packing import TokenSequence
from server.config import ServerConfig
from server.errors import InvalidRequest, TooLong
from server.metrics import ModelMetrics
from server.repository.bundle import Bundle
from server.repository.contract import require_text
from server.repository.manifest import Explain as ExplainFile
from server.repository.manifest import Manifest
from server.repository.sizes import ENVELOPE_BYTES, message_bytes
from server.runtime.serial import SerialExecutor, SerialLimits
from server.runtime.session import SessionConfig, Stop
from server.tasks.explain_graph import ExplainGraph
from server.tasks.text_runner import require_items
from server.text import attention
from server.text.attention import AttentionMap, Chosen, Method
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Text, Tokenizer, Truncation

MAX_WAITING = 8
"""Calls that wait for a model's explaining session, beside the one that it answers."""

MAX_RUN_BYTES = 1 << 30
"""Probabilities of one sequence in FP32. ONNX Runtime takes some times as much meanwhile."""

FLOAT_BYTES = 4
TOKEN_BYTES = 40
MAP_BYTES = 40
"""Of one token, or one map, in an answer at most, beside its piece, or weights."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call wants to know about each of its inputs."""

    method: Method
    layers: Sequence[int] = ()
    """Empty means all."""
    heads: Sequence[int] = ()
    """Of each layer; empty means all."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The attention inside one input."""

    tokenized: TokenizedText
    maps: list[AttentionMap]


class Explain:
    """The explain task of one loaded model."""

    def __init__(
        self,
        bundle: Bundle,
        explain: ExplainFile,
        tokenizer: Tokenizer,
        metrics: ModelMetrics,
        config: ServerConfig,
    ) -> None:
        """Connect; the graph is opened by the first call.

        Raises:
            BundleCorrupt: the manifest does not say how many layers and heads there are.
        """
        text, _ = require_text(bundle.manifest)
        most = config.max_request_sequences
        self._first_position = text.position_offset
        self._graph = ExplainGraph(bundle, explain, _session_config(config))
        self._executor = SerialExecutor("explain", SerialLimits(MAX_WAITING, config.ageing_s))
        self._tokenizer = tokenizer
        self._metrics = metrics
        self._max_inputs = most
        self._max_bytes = config.max_message_bytes or message_bytes(bundle.manifest, most)
        self._levels = config.priority_levels

    async def run(
        self, inputs: Sequence[Text], truncation: Truncation, asked: Asked
    ) -> list[Explained]:
        """Return the attention inside each input, in order.

        Raises:
            InvalidRequest: no inputs, too many, a layer or head that is not there, or an answer
                that no message holds.
            TooLong: an input beyond the limit while truncation is refused, or one whose
                probabilities would take too much memory.
            QueueFull: too many calls wait for the explaining session.
            DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        request = requests.current.get()
        require_items("inputs", inputs, self._max_inputs)
        chosen = attention.choose(self._graph.num_heads, asked.layers, asked.heads)
        level = self._level(request.priority)
        tokenized = await self._tokenize(inputs, truncation, request)
        self._require_memory(tokenized)
        self._require_room(tokenized, chosen.num_maps(asked.method))
        sequences = [self._sequence(one) for one in tokenized]
        submitted = monotonic()

        def work(stop: Stop) -> list[list[AttentionMap]]:
            request.timings.queue_s = monotonic() - submitted
            return [self._maps(one, chosen, asked.method, request, stop) for one in sequences]

        maps = await self._executor.run(work, level)
        return [Explained(one, its) for one, its in zip(tokenized, maps, strict=True)]

    def _maps(
        self,
        sequence: TokenSequence,
        chosen: Chosen,
        method: Method,
        request: requests.Request,
        stop: Stop,
    ) -> list[AttentionMap]:
        """Run one sequence, on the executor's thread."""
        request.require_time_left()
        layers, run_s = self._graph.run(sequence, stop)
        timings = request.timings
        if run_s > timings.run_s:
            timings.run_s, timings.batch_sequences = run_s, 1
            timings.batch_tokens = len(sequence)
        return attention.explain(layers, chosen, method)

    async def _tokenize(
        self, inputs: Sequence[Text], truncation: Truncation, request: requests.Request
    ) -> list[TokenizedText]:
        started = monotonic()
        tokenized = await self._tokenizer.encode(
            inputs, truncation, offsets=True, named=lambda index: f"inputs[{index}]"
        )
        request.timings.tokenize_s = monotonic() - started
        self._metrics.stages["tokenize"].observe(request.timings.tokenize_s)
        self._metrics.observe_request(len(text) for text in tokenized)
        request.require_time_left()
        return tokenized

    def _level(self, priority: int) -> int:
        if priority > self._levels:
            raise InvalidRequest(
                f"priority is {priority}; use 1 to {self._levels}, or 0 for the middle"
            )
        return priority or (self._levels + 1) // 2

    def _require_memory(self, tokenized: Sequence[TokenizedText]) -> None:
        per_pair = sum(self._graph.num_heads) * FLOAT_BYTES
        most = math.isqrt(MAX_RUN_BYTES // per_pair)
        for index, text in enumerate(tokenized):
            if len(text) > most:
                raise TooLong(
                    f"inputs[{index}] has {len(text)} tokens; the probabilities of at most "
                    f"{most} are computed at once for this model; shorten it"
                )

    def _require_room(self, tokenized: Sequence[TokenizedText], num_maps: int) -> None:
        """Refuse a call whose answer no message could hold, before it is run."""
        num_bytes = ENVELOPE_BYTES + sum(_answer_bytes(one, num_maps) for one in tokenized)
        if num_bytes > self._max_bytes:
            raise InvalidRequest(
                f"the answer would have up to {num_bytes} bytes, a message of this model holds "
                f"{self._max_bytes}; choose fewer layers and heads, another method, or split "
                "the call"
            )

    def _sequence(self, tokenized: TokenizedText) -> TokenSequence:
        first = self._first_position
        return TokenSequence(
            np.asarray(tokenized.ids, np.int64),
            np.arange(first, first + len(tokenized), dtype=np.int64),
            np.asarray(tokenized.type_ids, np.int64),
        )

    def close(self) -> None:
        """End the thread and free the session. No request may be inside."""
        self._executor.close()
        self._graph.close()


def _session_config(config: ServerConfig) -> SessionConfig:
    """Return options of a session whose runs are rare and large: each gives its memory back."""
    return SessionConfig(
        config.provider, usual_values=1, device_memory_bytes=config.device_memory_bytes
    )


def require_explain(explain: Explain | None, manifest: Manifest) -> Explain:
    """Return what explains a model.

    Raises:
        InvalidRequest: its bundle has no attention probabilities.
    """
    if explain is None:
        raise InvalidRequest(
            f"model '{manifest.name}' was exported without its attention probabilities; export it "
            "again with heed-export --explain"
        )
    return explain


def _answer_bytes(tokenized: TokenizedText, num_maps: int) -> int:
    pieces, size = tokenized.pieces, len(tokenized)
    names = sum(len(piece.encode()) for piece in pieces) + size * TOKEN_BYTES
    return names + num_maps * (size * size * FLOAT_BYTES + MAP_BYTES)
