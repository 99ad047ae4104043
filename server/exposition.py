"""Several processes' metrics as one exposition, told apart by a label.

Pure: texts in, families out.
"""

from collections.abc import Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

LABEL = "worker"


def merge(expositions: Mapping[str, str]) -> list[Metric]:
    """Return every family of the texts once, its samples labelled with the worker they come from.

    Nothing is added up: sums over workers are a query's, and gauges have no sum that makes sense.
    """
    families: dict[str, Metric] = {}
    for worker, text in expositions.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            merged.samples += [_labelled(sample, worker) for sample in family.samples]
    return list(families.values())


def _labelled(sample: Sample, worker: str) -> Sample:
    return sample._replace(labels={**sample.labels, LABEL: worker})
