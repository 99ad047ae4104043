#!/usr/bin/env python3
"""Print the Grafana dashboard: `python deploy/grafana/build.py > deploy/grafana/dashboard.json`.

Knows Grafana's JSON and nothing about heed: panels are in `rows.py`, what they are made of and the
selectors of the template variables in `panels.py`. Needs nothing but Python.
"""

import json
import sys
from typing import Any

from panels import PROCESS, Panel
from rows import ROWS

Json = dict[str, Any]

WIDTH = 24
HEIGHT = 8
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


def targets(panel: Panel) -> list[Json]:
    """Return a panel's queries as Grafana writes them."""
    instant = panel.kind in {"stat", "table"}
    form = {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series")
    return [
        {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": expr,
            "legendFormat": legend,
            "format": form,
            "instant": instant,
            "range": not instant,
        }
        for index, (legend, expr) in enumerate(panel.queries.items())
    ]


def defaults(panel: Panel) -> Json:
    """Return the field settings: unit, axis, colours, line style."""
    settings: Json = {"unit": panel.unit}
    if panel.decimals is not None:
        settings["decimals"] = panel.decimals
    if panel.thresholds:
        steps = [{"value": value, "color": colour} for value, colour in panel.thresholds]
        settings["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.kind == "state-timeline":
        names = {"0": {"text": "no", "color": "#6e6e6e"}, "1": {"text": "yes", "color": "blue"}}
        settings["mappings"] = [{"type": "value", "options": names}]
    if panel.kind == "timeseries":
        if not panel.log:
            settings["min"] = 0
        if panel.ceiling is not None:
            settings["max"] = panel.ceiling
        settings["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stack else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    return settings


def options(panel: Panel) -> Json:
    """Return the settings that belong to one kind of panel."""
    if panel.kind == "stat":
        return {
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value_and_name",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel.unit},
            "cellGap": 0,
            "color": {"mode": "scheme", "scheme": "Blues", "scale": "exponential", "exponent": 0.5},
            "legend": {"show": True},
            "tooltip": {"mode": "single"},
        }
    if panel.kind == "table":
        return {"showHeader": True}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "auto", "rowHeight": 0.9}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def render(panel: Panel, number: int, x: int, y: int) -> Json:
    """Return one panel as JSON, at its place in the grid."""
    result: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
        "targets": targets(panel),
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": options(panel),
    }
    if panel.columns:
        keep = {"include": {"names": list(panel.columns)}}
        order = {name: index for index, name in enumerate(panel.columns)}
        result["transformations"] = [
            {"id": "filterFieldsByName", "options": keep},
            {"id": "organize", "options": {"indexByName": order}},
        ]
    return result


def panels() -> list[Json]:
    """Return all rows and panels, placed from left to right and top to bottom."""
    result: list[Json] = []
    y = 0
    for title, row in ROWS.items():
        number = len(result) + 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        result.append(
            {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place,
             "panels": []}
        )  # fmt: skip
        x, y = 0, y + 1
        for panel in row():
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            result.append(render(panel, len(result) + 1, x, y))
            x += panel.width
        y += HEIGHT
    return result


def variable(name: str, query: str) -> Json:
    """Return a template variable that lists the values of a label."""
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> Json:
    """Return the whole dashboard."""
    return {
        "uid": "heed",
        "title": "heed",
        "description": "Objectives, traffic, latency, batching and roll-outs of heed servers.",
        "tags": ["heed", "onnxruntime", "grpc"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                variable("job", "label_values(heed_build_info, job)"),
                variable("instance", 'label_values(heed_build_info{job=~"$job"}, instance)'),
                variable("model", f"label_values(heed_model_info{{{PROCESS}}}, model)"),
                variable(
                    "version",
                    f'label_values(heed_model_info{{{PROCESS}, model=~"$model"}}, version)',
                ),
            ]
        },
        "panels": panels(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2) + "\n")
