"""One ONNX Runtime session: opened with explicit options, run from any number of threads.

With one intra-op thread a run stays on the calling thread, so several dispatch threads share
one copy of the weights. Owns nothing but the session; batching and threads live elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.errors import BundleCorrupt, RunFailed
from server.runtime import providers

Array = NDArray[np.generic]

_RELEASE_NUMBERS = 4
"""Versions are compared with this many numbers, so that 1.31 is 1.31.0."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is created. The same values serve, measure and prove a bundle."""

    provider: str = "cpu"
    intra_op_threads: int = 1
    disabled_optimizers: tuple[str, ...] = ()
    optimized_model_path: Path | None = None
    """Where to write the graph as ONNX Runtime rewrote it, for proofs; not written by default."""


class Session:
    """A loaded graph on one provider."""

    def __init__(self, path: Path, config: SessionConfig) -> None:
        """Load the graph at `path`.

        Raises:
            ProviderUnavailable: the provider is missing or not really used.
            BundleCorrupt: ONNX Runtime refuses the file.
        """
        name = providers.require_available(config.provider)
        # CPU stays listed behind CUDA for the shape arithmetic that belongs on the host.
        chain = [name] if config.provider == "cpu" else [name, "CPUExecutionProvider"]
        try:
            self._session = ort.InferenceSession(
                str(path),
                _options(config),
                providers=chain,
                disabled_optimizers=list(config.disabled_optimizers),
            )
        except _ORT_ERRORS as error:
            raise BundleCorrupt(f"{path.name}: ONNX Runtime refuses it: {error}") from error
        providers.require_used(config.provider, self._session)
        self.config = config
        self.input_names: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] = ()) -> list[Array]:
        """Run the graph and return the outputs asked for, by default all, in graph order.

        Blocks the calling thread and releases the interpreter lock while ONNX Runtime works.

        Raises:
            RunFailed: ONNX Runtime reports an error on these feeds.
        """
        try:
            return cast(
                "list[Array]",
                self._session.run(list(outputs or self.output_names), dict(feeds)),
            )
        except _ORT_ERRORS as error:
            raise RunFailed(f"ONNX Runtime failed: {error}") from error


_state = ort.capi.onnxruntime_pybind11_state
_ORT_ERRORS: tuple[type[Exception], ...] = (
    _state.EPFail,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoSuchFile,
    _state.NotImplemented,
    _state.RuntimeException,
)


def _options(config: SessionConfig) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.intra_op_threads
    options.inter_op_num_threads = 1
    # Shapes differ from run to run: a memory plan for each would only pile up.
    options.enable_mem_pattern = False
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # A spinning pool takes a whole core from whatever shares the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors are raised with their text; printing them as well would say everything twice.
    options.log_severity_level = 4
    if config.optimized_model_path is not None:
        options.optimized_model_filepath = str(config.optimized_model_path)
        # Weights beside it: one file would end at the 2 GiB of a protobuf.
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name",
            f"{config.optimized_model_path.name}.data",
        )
    return options


def runtime_version() -> str:
    """Return the version of the installed ONNX Runtime."""
    return cast("str", ort.__version__)


def require_runtime(minimum: str) -> None:
    """Check that the installed ONNX Runtime is at least as new as a bundle asks for.

    Raises:
        BundleCorrupt: it is older, or `minimum` is no version.
    """
    needed, installed = _release(minimum), _release(runtime_version())
    if needed is None:
        raise BundleCorrupt(f"min_onnxruntime '{minimum}' is no version; export the bundle again")
    if installed is not None and installed < needed:
        raise BundleCorrupt(
            f"min_onnxruntime is {minimum}, installed is {runtime_version()}; "
            "install a newer ONNX Runtime or export the bundle with this one"
        )


def _release(version: str) -> tuple[int, ...] | None:
    """Return the numbers a version begins with; what follows, as in 1.32.0.dev7, is left out."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    if found is None:
        return None
    numbers = tuple(map(int, found[0].split(".")))
    return numbers + (0,) * (_RELEASE_NUMBERS - len(numbers))
