"""The second graph of a bundle: token ids of one sequence to the attention inside every layer.

Opened by the first run. Belongs to the one thread that runs it.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import cast

import numpy as np

from server.batching.packing import TokenSequence
from server.errors import BundleCorrupt, InvalidRequest
from server.repository import manifest as manifests
from server.repository.bundle import Bundle, digest_file
from server.repository.contract import TOKEN_TYPES
from server.runtime.session import Array, Session, SessionConfig, Stop
from server.text.attention import Weights

ATTENTIONS = "attentions"
"""Output (layers, rows, heads, tokens, tokens), or one `attentions.<layer>` (rows, heads, tokens,
tokens) for each where layers differ."""


class ExplainGraph:
    """The explaining graph of one bundle."""

    def __init__(self, bundle: Bundle, explain: manifests.Explain, config: SessionConfig) -> None:
        """Read what the graph returns; nothing is opened yet.

        Raises:
            BundleCorrupt: the manifest does not say how many layers and heads there are.
        """
        self.num_heads = num_heads(explain)
        """Of each layer."""
        self._path = bundle.path / explain.model
        self._digest = bundle.manifest.files[explain.model]
        self._outputs = _layer_outputs(explain)
        self._config = config
        self._session: Session | None = None

    def run(self, sequence: TokenSequence, stop: Stop) -> tuple[list[Weights], float]:
        """Return (heads, tokens, tokens) of each layer, and the seconds of the run. Blocks.

        Raises:
            BundleCorrupt: the graph cannot be opened, or is not what the manifest says.
            InvalidRequest: the layers attend to something else than the tokens.
            RunFailed: ONNX Runtime reports an error on this sequence.
            Cancelled: `stop` ended the run.
        """
        session = self._opened()
        feeds = _feeds(sequence)
        started = monotonic()
        found = session.run(
            {name: feeds[name] for name in session.input_names}, self._outputs, stop
        )
        run_s = monotonic() - started
        # One stacked output has the layers in front; an output each has them already apart.
        stacked = found[0][:, 0] if self._outputs == (ATTENTIONS,) else [one[0] for one in found]
        layers = [np.asarray(layer, np.float32) for layer in cast("Sequence[Array]", stacked)]
        self._check(layers, len(sequence))
        return layers, run_s

    def _check(self, layers: Sequence[Weights], tokens: int) -> None:
        if tuple(map(len, layers)) != self.num_heads:
            raise BundleCorrupt(
                f"{self._path.name} returns {tuple(map(len, layers))} heads by layer, the manifest "
                f"says {self.num_heads}; export the bundle again"
            )
        for index, layer in enumerate(layers):
            if layer.shape[1:] != (tokens, tokens):
                raise InvalidRequest(
                    f"layer {index} of this model attends between {layer.shape[1]} and "
                    f"{layer.shape[2]} places, not between its {tokens} tokens; it cannot be "
                    "explained"
                )

    def _opened(self) -> Session:
        if self._session is None:
            # Verified when the model was loaded; that may have been days ago.
            if not self._path.is_file() or digest_file(self._path) != self._digest:
                raise BundleCorrupt(
                    f"{self._path.name} is not the file that was loaded; load the model again"
                )
            session = Session(self._path, self._config)
            missing = set(self._outputs) - set(session.output_names)
            unknown = set(session.input_names) - _INPUTS
            if missing or unknown:
                raise BundleCorrupt(
                    f"{self._path.name} lacks {sorted(missing)} and asks for "
                    f"{sorted(unknown)}; export the bundle again"
                )
            self._session = session
        return self._session

    def close(self) -> None:
        """Free the session, if there is one. No run may be under way."""
        if self._session is not None:
            self._session.close()


def num_heads(explain: manifests.Explain) -> tuple[int, ...]:
    """Return the number of heads of each layer.

    Raises:
        BundleCorrupt: `explain.outputs` does not say.
    """
    specs = {spec.name: spec for spec in explain.outputs}
    names = _layer_outputs(explain)
    heads: tuple[int, ...]
    if names == (ATTENTIONS,):
        layers, _, each, *_ = (*specs[ATTENTIONS].shape, -1, -1, -1)
        heads = (each,) * layers
    else:
        heads = tuple((*specs[name].shape, -1, -1)[1] for name in names)
    if not heads or min(heads) < 1:
        raise BundleCorrupt(
            "explain.outputs does not say how many layers and heads there are; export again"
        )
    return heads


def _layer_outputs(explain: manifests.Explain) -> tuple[str, ...]:
    """Return the outputs that hold the layers, in their order."""
    names = [spec.name for spec in explain.outputs]
    if ATTENTIONS in names:
        return (ATTENTIONS,)
    prefix = f"{ATTENTIONS}."
    return tuple(
        sorted(
            (name for name in names if name.startswith(prefix)),
            key=lambda name: (len(name), name),  # by number: 10 behind 9
        )
    )


_INPUTS = {"input_ids", "segment_ids", "position_ids", TOKEN_TYPES}


def _feeds(sequence: TokenSequence) -> Mapping[str, Array]:
    """Return one row of one sequence."""
    types = sequence.token_type_ids
    return {
        "input_ids": sequence.input_ids[np.newaxis],
        "segment_ids": np.ones((1, len(sequence)), np.int64),
        "position_ids": sequence.position_ids[np.newaxis],
        TOKEN_TYPES: np.zeros((1, len(sequence)), np.int64) if types is None else types[np.newaxis],
    }
