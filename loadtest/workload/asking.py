"""What only the server knows about a model and a request needs: its tensors, its mask, its ids."""

from collections.abc import Callable
from functools import cached_property
from typing import Final

from loadtest.errors import RunFailed
from loadtest.workload.methods import CONFIG, DETOKENIZE, TOKENIZE
from loadtest.workload.texts import words
from protos import inference_pb2 as inference
from protos.heed.v1 import text_pb2 as text

Inspect = Callable[[str], inference.ModelMetadataResponse]
"""Model -> what ModelMetadata says."""
Ask = Callable[[str, bytes], bytes]
"""Full method name, request -> answer of a unary call. Raises RunFailed."""

_TELLS_MORE: Final = "onnxruntime_onnx"
"""Platform of servers that answer ModelConfig, heed among them."""
_WORDS: Final = 256


class Model:
    """A model of the server under test. Asks each question at most once, and only when needed."""

    def __init__(self, name: str, inspect: Inspect, ask: Ask | None) -> None:
        self.name = name
        self._inspect = inspect
        self._ask_server = ask

    @cached_property
    def metadata(self) -> inference.ModelMetadataResponse:
        """The names, types and shapes of its tensors."""
        return self._inspect(self.name)

    @cached_property
    def counts(self) -> dict[str, str]:
        """What each output counts: sequence, token, mask or row. Empty where nobody tells."""
        if self._ask_server is None or self.metadata.platform != _TELLS_MORE:
            return {}
        return {
            name.removeprefix("per."): value
            for name, value in self._config.items()
            if name.startswith("per.")
        }

    @cached_property
    def mask(self) -> str:
        """The token that stands for a missing one, as a text has it."""
        number = self._config.get("mask_id")
        if number is None:
            raise RunFailed(f"{self.name} has no mask token, so it fills none; use another model")
        # Special tokens included, or nothing would be left.
        request = text.DetokenizeRequest(model=self.name, sequences=[{"ids": [int(number)]}])
        answer = self._ask(DETOKENIZE, request.SerializeToString())
        return text.DetokenizeResponse.FromString(answer).texts[0]

    @cached_property
    def word_ids(self) -> list[int]:
        """Some ids of its vocabulary that stand for text."""
        request = text.TokenizeRequest(
            model=self.name,
            texts=[" ".join(words()[:_WORDS])],
            truncation=text.TRUNCATION_KEEP_START,
        )
        answer = self._ask(TOKENIZE, request.SerializeToString())
        tokens = text.TokenizeResponse.FromString(answer).texts[0].tokens
        found = sorted({token.id for token in tokens if not token.special})
        if not found:
            raise RunFailed(f"{self.name} makes no tokens of English words; use another model")
        return found

    @cached_property
    def _config(self) -> dict[str, str]:
        request = inference.ModelConfigRequest(name=self.name)
        answer = self._ask(CONFIG, request.SerializeToString())
        parameters = inference.ModelConfigResponse.FromString(answer).config.parameters
        return {name: value.string_value for name, value in parameters.items()}

    def _ask(self, method: str, request: bytes) -> bytes:
        if self._ask_server is None:
            raise RunFailed(
                f"{self.name} must be asked for {method.rpartition('/')[2]} before the run,"
                " and there is no server to ask"
            )
        return self._ask_server(method, request)
