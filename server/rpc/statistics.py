"""The counters of a model in the messages of the statistics extension. Pure."""

from protos import inference_pb2 as pb
from server.batching.statistics import Duration, RunDurations
from server.tasks.model import LoadedModel


def statistics(model: LoadedModel) -> pb.ModelStatistics:
    """Return everything counted for a model version since it was loaded."""
    counted = model.statistics
    return pb.ModelStatistics(
        name=model.manifest.name,
        version=str(model.manifest.version),
        last_inference=counted.last_run_ms,
        inference_count=counted.num_sequences,
        execution_count=counted.num_runs,
        inference_stats=pb.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            cache_hit=_duration(counted.cache_hit),
            cache_miss=_duration(counted.cache_miss),
            **_stages(counted.per_sequence),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, **_stages(durations))
            for size, durations in sorted(counted.by_batch.items())
        ],
    )


def _stages(durations: RunDurations) -> dict[str, pb.StatisticDuration]:
    return {
        "compute_input": _duration(durations.pack),
        "compute_infer": _duration(durations.run),
        "compute_output": _duration(durations.scatter),
    }


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
