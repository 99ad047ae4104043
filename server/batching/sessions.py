"""Open the sessions of a bundle with the options that were measured best for it."""

from dataclasses import dataclass

from server.batching.choice import ONE_CORE, Choice, choose
from server.config import ServerConfig
from server.errors import BundleCorrupt, ServeError
from server.repository.bundle import Bundle
from server.runtime.pool import SessionPool
from server.runtime.session import Session, SessionConfig, require_runtime


@dataclass(frozen=True, slots=True)
class Opened:
    """The sessions of one bundle, ready to run."""

    sessions: list[Session]
    choice: Choice

    def close(self) -> None:
        """Free them. No run may be under way."""
        for session in self.sessions:
            session.close()

    def pool(self, config: ServerConfig) -> SessionPool:
        """Start the dispatch threads, which close the sessions in the end."""
        choice = self.choice
        cores = config.run_cores()
        # A run on several cores, or fewer runs than cores, is better placed by the system.
        is_pinned = choice.intra_op_threads == 1 and choice.num_threads == len(cores)
        return SessionPool(
            self.sessions, choice.num_threads, cores if is_pinned else (), config.niceness
        )


def open_sessions(bundle: Bundle, config: ServerConfig, choice: Choice | None = None) -> Opened:
    """Open as many sessions as the choice asks for, each with weights of its own.

    Raises:
        BundleCorrupt: the graph, or what the manifest says of it, cannot be honoured.
        ProviderUnavailable: the configured provider cannot be used.
    """
    opened = Opened([], choice or choose(bundle, config))
    try:
        for _ in range(opened.choice.num_sessions):
            opened.sessions.append(
                open_session(bundle, config.provider, opened.choice, config.device_memory_bytes)
            )
    except ServeError:
        opened.close()
        raise
    return opened


def open_session(
    bundle: Bundle, provider: str, choice: Choice = ONE_CORE, device_memory_bytes: int = 0
) -> Session:
    """Open the graph of a bundle with the session options that it names for a provider."""
    manifest = bundle.manifest
    options = manifest.sessions.get(provider)
    if options is None:
        raise BundleCorrupt(
            f"{bundle.path}: sessions has no options for provider '{provider}'; "
            f"it was exported for {', '.join(manifest.sessions)}"
        )
    try:
        require_runtime(manifest.min_onnxruntime)
    except BundleCorrupt as error:
        raise BundleCorrupt(f"{bundle.path}: {error}") from error
    budget = choice.max_batch_tokens or options.max_batch_tokens
    session = Session(
        bundle.model_path,
        SessionConfig(
            provider,
            choice.intra_op_threads,
            options.disabled_optimizers,
            spin=choice.spin,
            usual_values=budget if manifest.mask == "segment_ids" else 0,
            device_memory_bytes=device_memory_bytes,
        ),
    )
    _check_interface(bundle, session)
    return session


def _check_interface(bundle: Bundle, session: Session) -> None:
    manifest = bundle.manifest
    for kind, declared, present in (
        ("inputs", manifest.inputs, session.input_names),
        ("outputs", manifest.outputs, session.output_names),
    ):
        names = tuple(spec.name for spec in declared)
        if sorted(names) != sorted(present):
            raise BundleCorrupt(
                f"{bundle.path}: {kind} says {', '.join(names)}, the graph has "
                f"{', '.join(present)}; export the bundle again"
            )
