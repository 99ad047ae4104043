"""One ONNX Runtime session: opened with explicit options, run from any number of threads.

With one intra-op thread a run stays on the calling thread, so several dispatch threads share
one copy of the weights. Owns nothing but the session; batching and threads live elsewhere.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.errors import BundleCorrupt, Cancelled, RunFailed
from server.runtime import providers
from server.runtime.binding import Binding
from server.runtime.denormals import flushed
from server.runtime.memory import trim

Array = NDArray[np.generic]

FAR_LARGER = 4
"""Times the usual size from which on a run's memory is given back. MiniLM-L6 in fp32: one run of
8192 tokens leaves 371 MiB behind; giving them back costs the next runs 10 ms together."""
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
    spin: bool = False
    """Whether intra-op threads wait for work busily. Faster where nothing else wants the cores; it
    takes whole ones from whatever shares the machine."""
    usual_values: int = 0
    """Values of the largest input of a usual run. Memory of runs far beyond is given back after
    them; 0 keeps all."""
    device_memory_bytes: int = 0
    """Most memory of a GPU for activations and weights of this session; 0 is no limit."""


class Stop:
    """Ends runs from another thread."""

    __slots__ = ("_asked", "_options")

    def __init__(self) -> None:
        self._options = ort.RunOptions()
        self._asked = False

    def now(self) -> None:
        """Let the run under way, and any that starts with this, fail with Cancelled."""
        self._asked = True
        self._options.terminate = True

    @property
    def asked(self) -> bool:
        """Whether `now` was called."""
        return self._asked

    @property
    def options(self) -> ort.RunOptions:
        """What ONNX Runtime looks at between nodes."""
        return self._options


class Session:
    """A loaded graph on one provider."""

    def __init__(self, path: Path, config: SessionConfig) -> None:
        """Load the graph at `path`.

        Raises:
            ProviderUnavailable: the provider is missing or not really used.
            BundleCorrupt: ONNX Runtime refuses the file.
        """
        chain = providers.chain(config.provider, config.device_memory_bytes)
        try:
            # Intra-op threads start here and keep what this thread does with denormals.
            with flushed():
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
        self._bindings = threading.local()

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] = (), stop: Stop | None = None
    ) -> list[Array]:
        """Run the graph and return the outputs asked for, by default all, in graph order.

        Blocks the calling thread and releases the interpreter lock while ONNX Runtime works.

        Raises:
            RunFailed: ONNX Runtime reports an error on these feeds.
            Cancelled: `stop` ended the run.
        """
        names = list(outputs or self.output_names)
        options = self._run_options(feeds, stop)
        try:
            if self.config.provider != "cpu":
                return self._binding().run(feeds, names, options)
            with flushed():
                return cast("list[Array]", self._session.run(names, dict(feeds), options))
        except _ORT_ERRORS as error:
            # The text of a terminated run's error is no promise; that it was asked for is a fact.
            if stop is not None and stop.asked:
                raise Cancelled("the run was ended: nobody waits for it") from error
            raise RunFailed(f"ONNX Runtime failed: {error}") from error

    def close(self) -> None:
        """Free the graph and its memory. No run may be under way; idempotent."""
        self._bindings = threading.local()
        self._session = None
        trim()

    def _run_options(self, feeds: Mapping[str, Array], stop: Stop | None) -> ort.RunOptions | None:
        options = None if stop is None else stop.options
        usual = self.config.usual_values
        if usual and max(array.size for array in feeds.values()) > FAR_LARGER * usual:
            options = ort.RunOptions() if options is None else options
            options.add_run_config_entry(
                "memory.enable_memory_arena_shrinkage", providers.ARENAS[self.config.provider]
            )
        return options

    def _binding(self) -> Binding:
        binding: Binding | None = getattr(self._bindings, "own", None)
        if binding is None:
            binding = Binding(self._session, self.config.provider)
            self._bindings.own = binding
        return binding


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
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(config.spin)))
    if config.intra_op_threads > 1:
        # For its threads; the calling one is seen to in `run`.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
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
