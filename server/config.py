"""Every option of the server, once: name, default, limits and help.

A flag `--max-batch-tokens` is the field `max_batch_tokens` is the variable `HEED_MAX_BATCH_TOKENS`.
It is also a line of the file that `config` names. `server.options` reads all of them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ENV_PREFIX: Final = "HEED_"
MAX_NICENESS: Final = 19


def _option(
    default: Any,  # noqa: ANN401  (a dataclass default has the type of its field)
    help_text: str,
    *,
    check: Callable[[Any], bool] = lambda _: True,
    must: str = "",
    choices: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401  (as dataclasses.field)
    metadata = {"help": help_text, "check": check, "must": must, "choices": choices}
    return field(default=default, metadata=metadata)


def _at_least(low: float) -> dict[str, Any]:
    return {"check": lambda value: value >= low, "must": f"be at least {low}"}


def _port() -> dict[str, Any]:
    high = 65535
    return {"check": lambda value: 0 <= value <= high, "must": f"lie in 0 to {high}"}


def usable_cores() -> list[int]:
    """Return the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_threads(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may keep busy: a container's quota can be below its cores.

    `cpu.max` holds quota and period in microseconds, or `max` (kernel documentation, cgroup v2).
    """
    cores = len(usable_cores())
    try:
        quota, period = cpu_max.read_text("ascii").split()
    except (OSError, ValueError):
        return cores  # no cgroup v2 here
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How one server process runs."""

    models: Path = _option(Path("models"), "Repository: a directory of <name>/<version>/ bundles.")
    host: str = _option("127.0.0.1", "Address of the gRPC port; 0.0.0.0 to serve other machines.")
    port: int = _option(8001, "gRPC port; 0 picks a free one.", **_port())
    unix_socket: str = _option(
        "", "Path of a Unix socket to answer on as well; clients use unix:PATH."
    )
    workers: int = _option(
        1,
        "Processes that answer on the one port, each with its share of the cores and its own copy "
        "of the models. More than one pays where a single Python process is the limit.",
        **_at_least(1),
    )
    reuse_port: bool = _option(
        default=False,
        help_text="Let other servers of the same user answer on the same port: the system spreads "
        "connections over them. --workers does this by itself.",
    )
    ops_host: str = _option("127.0.0.1", "Address of the port for metrics and probes.")
    ops_port: int = _option(8002, "Port of /metrics, /livez and /readyz; 0 picks one.", **_port())
    provider: str = _option(
        "cpu", "Execution provider. Another one is never used instead.", choices=("cpu", "cuda")
    )
    config: str = _option(
        "", "TOML file with options under their names here; flags and environment win over it."
    )
    versions: str = _option(
        "latest",
        "Which versions of each model serve: latest, latest:2 for the two highest, all, or "
        "specific ones as minilm=1+3,other=all; an entry without a name is for all other models.",
    )
    model_control: str = _option(
        "none",
        "Who may load and unload while serving. none: nobody. explicit: RepositoryModelLoad and "
        "RepositoryModelUnload. poll: the repository is read again every --poll-s seconds.",
        choices=("none", "explicit", "poll"),
    )
    poll_s: float = _option(5.0, "Seconds between two looks at the repository.", **_at_least(0.1))
    probe: bool = _option(
        default=True,
        help_text="Open a bundle that joins a running server in a child process first, so that a "
        "file which crashes ONNX Runtime costs nobody an answer.",
    )
    threads: int = _option(
        default_threads(),
        "Cores for runs on CPU: as many runs at the same time, divided by --intra-op-threads. "
        "Leave it at the number of cores unless other programs share them.",
        **_at_least(1),
    )
    pin: bool = _option(
        default=True,
        help_text="Keep each run thread on a core of its own, where its caches are warm. Only in "
        "force when there are as many threads as cores.",
    )
    intra_op_threads: int = _option(
        0,
        "Cores that one run uses on CPU; 0 takes what heed-serve tune found, or 1. More than 1 "
        "answers a long request sooner, and takes a copy of the weights for each run at a time.",
        **_at_least(0),
    )
    tuning: str = _option(
        "~/.cache/heed/tuning",
        "Directory of what heed-serve tune measured on this hardware; empty uses none.",
    )
    device_memory_bytes: int = _option(
        0,
        "Most memory of the GPU that the models may take together; 0 is no limit.",
        **_at_least(0),
    )
    batching: str = _option(
        "packed",
        "packed lets short sequences share rows; padded gives each its own row, first come first "
        "served, as servers without packing do; sorted does so by length.",
        choices=("packed", "padded", "sorted"),
    )
    max_batch_tokens: int = _option(
        0,
        "Padded tokens in one run; more is faster under load until activations leave the cache. "
        "0 takes what the bundle says.",
        **_at_least(0),
    )
    max_batch_rows: int = _option(
        0,
        "Rows in one run, where rows are not packed. 0 takes what the bundle says for models of "
        "whole rows, such as images, and 16 for text with --batching padded.",
        **_at_least(0),
    )
    max_batch_delay_ms: float = _option(
        0.0,
        "How long an idle thread may wait for a fuller run. The next run forms while one is under "
        "way, so 0 costs no throughput under load.",
        **_at_least(0),
    )
    priority_levels: int = _option(
        3, "Levels of priority; 1 is served first, 0 in a request means the middle.", **_at_least(1)
    )
    ageing_s: float = _option(
        1.0,
        "A request gains one level of priority each time it has waited this long, so that none "
        "waits for ever; 0 turns this off.",
        **_at_least(0),
    )
    cache_bytes: int = _option(
        0,
        "Memory for answers to texts, or rows of tensors, that come again, per model; equal ones "
        "that are under way at once run once. 0 keeps none.",
        **_at_least(0),
    )
    max_queue_requests: int = _option(
        1024, "Requests that may wait per model; one more is refused at once.", **_at_least(1)
    )
    max_queue_tokens: int = _option(
        262_144, "Tokens that may wait per model; also the most one call may hold.", **_at_least(1)
    )
    max_queue_rows: int = _option(
        1024,
        "Whole rows that may wait per model that takes them instead of text; also the most one "
        "call may hold.",
        **_at_least(1),
    )
    max_inflight_requests: int = _option(
        2048, "Calls being answered at the same time, over all models.", **_at_least(1)
    )
    max_inflight_bytes: int = _option(
        1 << 30, "Bytes of all calls being answered at the same time.", **_at_least(1)
    )
    max_message_bytes: int = _option(
        0,
        "Largest message, in or out. 0 is what the largest legal call of the models needs.",
        **_at_least(0),
    )
    predict: bool = _option(
        default=True,
        help_text="Refuse at once a call whose deadline would pass in the queue, by the predicted "
        "cost of what waits.",
    )
    max_request_sequences: int = _option(
        256, "Texts, or rows of a tensor, in one call.", **_at_least(1)
    )
    drain_delay_s: float = _option(
        0.0,
        "After SIGTERM keep serving this long with readiness off, so that load balancers look away "
        "first.",
        **_at_least(0),
    )
    drain_grace_s: float = _option(
        30.0, "After that, time for calls under way before they are cut off.", **_at_least(0)
    )
    skip_broken: bool = _option(
        default=False,
        help_text="Serve the sound bundles when others cannot be loaded, instead of refusing to "
        "start.",
    )
    scheduling: str = _option(
        "normal",
        "Linux scheduling policy of the process. batch keeps arriving bytes from interrupting "
        "runs. That suits offline jobs; above capacity calls then wait to be refused.",
        choices=("batch", "normal"),
    )
    niceness: int = _option(
        5,
        "How far run threads give way to those that take, refuse and send (setpriority), where "
        "both want a core. It halves the time to refuse above capacity and costs no throughput; "
        "other programs on the same cores gain from it as well.",
        check=lambda value: 0 <= value <= MAX_NICENESS,
        must=f"lie in 0 to {MAX_NICENESS}",
    )
    reflection: bool = _option(default=True, help_text="Answer gRPC server reflection.")
    shared_memory: bool = _option(
        default=False,
        help_text="Let clients of this machine pass tensors in system shared memory. Whoever may "
        "call can then read and write the regions that are registered.",
    )
    tls_cert: str = _option("", "PEM file of the server's certificate chain; turns TLS on.")
    tls_key: str = _option("", "PEM file of its private key.")
    tls_client_ca: str = _option(
        "", "PEM file of the authorities whose clients are let in; turns mutual TLS on."
    )
    tls_reload_s: float = _option(
        60.0,
        "Seconds between two looks for a renewed certificate or file of API keys.",
        **_at_least(0.1),
    )
    api_keys: str = _option(
        "", "TOML file with SHA-256 digests of API keys by group: infer, control, info."
    )
    record_arrivals: str = _option(
        "",
        "File to append each request's arrival, lengths, priority and deadline to, never its "
        "texts, for heed-serve simulate.",
    )
    log_level: str = _option(
        "info", "Least severe messages to log.", choices=("debug", "info", "warning", "error")
    )

    def run_cores(self) -> list[int]:
        """Return the core of each run thread, nothing when the threads are free to move."""
        cores = usable_cores()
        can_pin = self.pin and self.provider == "cpu" and hasattr(os, "sched_setaffinity")
        return cores if can_pin and self.threads == len(cores) else []
