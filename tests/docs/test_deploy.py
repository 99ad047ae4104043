"""What deploy/ says agrees with the server: options, ports, names, bounds; and with itself."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from server.config import ServerConfig
from server.metrics import LATENCY_BUCKETS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPTIONS = {option.name: option for option in fields(ServerConfig)}
IMAGES = ("cpu", "gpu")
GRID_WIDTH = 24

Json = dict[str, Any]


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


DASHBOARD = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
RULES = [rule for group in read("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
QUERIES = [rule["expr"] for rule in RULES] + [
    query["expr"] for panel in PANELS for query in panel["targets"]
]


def instructions(image: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) of a Dockerfile, continued lines joined."""
    text = (DEPLOY / f"docker/Dockerfile.{image}").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def environment(image: str) -> dict[str, str]:
    pairs = " ".join(rest for word, rest in instructions(image) if word == "ENV").split()
    return dict(pair.split("=", 1) for pair in pairs)


def flags(args: list[str]) -> dict[str, str]:
    """Return `--some-flag value` pairs by field name; fails on a flag the server does not have."""
    pairs = {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairwise(args)}
    assert set(pairs) <= set(OPTIONS)
    return pairs


def pairwise(args: list[str]) -> Iterator[tuple[str, str]]:
    return zip(args[::2], args[1::2], strict=True)


def drain_s(container: Json) -> float:
    given = flags(container["args"])
    return float(given["drain_delay_s"]) + float(given["drain_grace_s"])


# --- images and compose


@pytest.mark.parametrize("image", IMAGES)
def test_image_has_two_stages_and_runs_as_a_numbered_user(image: str) -> None:
    words = Counter(word for word, _ in instructions(image))
    last = dict(instructions(image))
    assert words["FROM"] == 2
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert f'".[{image}]"' in last["RUN"]


@pytest.mark.parametrize("image", IMAGES)
def test_image_starts_the_server_so_that_signals_arrive(image: str) -> None:
    last = dict(instructions(image))
    assert json.loads(last["ENTRYPOINT"]) == ["heed-serve"]
    assert last["STOPSIGNAL"] == "SIGTERM"


@pytest.mark.parametrize("image", IMAGES)
def test_image_sets_only_options_that_exist(image: str) -> None:
    values = environment(image)
    options = {name.removeprefix("HEED_").lower() for name in values if name.startswith("HEED_")}
    assert options <= set(OPTIONS)
    assert values["HEED_PROVIDER"] in OPTIONS["provider"].metadata["choices"]
    assert values["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.skipif(
    not THP.is_file() or "[madvise]" not in THP.read_text(),
    reason="the kernel does not give huge pages on request: transparent_hugepage=madvise",
)
@pytest.mark.parametrize("image", IMAGES)
def test_image_gets_huge_pages_from_the_c_library(image: str) -> None:
    code = "block = bytearray(1 << 26); print(open('/proc/self/smaps').read())"

    def has_huge_pages(tunables: str) -> bool:
        env = os.environ | {"GLIBC_TUNABLES": tunables}
        areas = subprocess.check_output([sys.executable, "-c", code], env=env, text=True)
        return re.search(r"VmFlags:.*\bhg\b", areas) is not None

    assert has_huge_pages(environment(image)["GLIBC_TUNABLES"])
    assert not has_huge_pages("")


@pytest.mark.parametrize("image", IMAGES)
def test_image_checks_readiness_on_the_port_it_sets(image: str) -> None:
    last = dict(instructions(image))
    values = environment(image)
    check = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert f":{values['HEED_OPS_PORT']}/readyz" in check[2]
    assert last["EXPOSE"].split() == [values["HEED_PORT"], values["HEED_OPS_PORT"]]
    compile(check[2], "HEALTHCHECK", "exec")


@pytest.mark.parametrize("image", IMAGES)
def test_image_takes_only_what_the_installation_reads(image: str) -> None:
    lines = (DEPLOY / f"docker/Dockerfile.{image}.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    assert patterns[0] == "*"
    allowed = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= allowed
    assert {"pyproject.toml", project["project"]["readme"], "constraints.txt"} <= allowed


def test_compose_runs_three_services_on_loopback() -> None:
    services = read("compose.yaml")["services"]
    assert set(services) == {"server", "prometheus", "grafana"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        image = service["image"]
        assert ":" in image
        assert not image.endswith(":latest")


def test_compose_mounts_files_that_exist() -> None:
    compose = read("compose.yaml")
    for service in compose["services"].values():
        for volume in service["volumes"]:
            # A variable with a message has colons of its own; it is the models directory.
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists()
            elif not source.startswith("${"):
                assert source in compose["volumes"]


def test_compose_waits_for_the_drain() -> None:
    server = read("compose.yaml")["services"]["server"]
    grace = float(server["environment"]["HEED_DRAIN_GRACE_S"])
    assert float(server["stop_grace_period"].removesuffix("s")) > grace


def test_prometheus_and_grafana_find_their_targets() -> None:
    services = read("compose.yaml")["services"]
    [job] = read("prometheus/prometheus.yml")["scrape_configs"]
    assert job["job_name"] == "heed"
    assert job["static_configs"] == [{"targets": ["server:8002"]}]
    [source] = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = read("grafana/provisioning/dashboards/heed.yaml")["providers"]
    folder = provider["options"]["path"]
    assert any(f":{folder}/" in volume for volume in services["grafana"]["volumes"])


# --- Kubernetes


def test_kustomization_lists_every_manifest() -> None:
    listed = set(read("k8s/kustomization.yaml")["resources"])
    assert listed == {path.name for path in (DEPLOY / "k8s").glob("*.yaml")} - {
        "kustomization.yaml"
    }
    for name in listed:
        manifest = read(f"k8s/{name}")
        assert {"apiVersion", "kind", "metadata", "spec"} <= set(manifest)
        assert manifest["metadata"]["name"] == "heed"


def workloads() -> list[tuple[Json, Json]]:
    """Return (pod settings, container) of the Deployment and of KServe's pair."""
    pod = read("k8s/deployment.yaml")["spec"]["template"]["spec"]
    predictor = read("kserve/inference-service.yaml")["spec"]["predictor"]
    runtime = read("kserve/serving-runtime.yaml")["spec"]
    return [(pod, pod["containers"][0]), (predictor, runtime["containers"][0])]


WORKLOADS = pytest.mark.parametrize(("pod", "container"), workloads(), ids=("k8s", "kserve"))


@WORKLOADS
def test_probes_ask_the_right_port(pod: Json, container: Json) -> None:  # noqa: ARG001
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"] == {"port": OPTIONS["port"].default}
    assert OPTIONS["port"].default in ports.values()
    live = container["livenessProbe"]["httpGet"]
    assert live["path"] == "/livez"
    assert ports.get(live["port"], live["port"]) == OPTIONS["ops_port"].default


@WORKLOADS
def test_pod_outlives_the_drain(pod: Json, container: Json) -> None:
    assert pod["terminationGracePeriodSeconds"] > drain_s(container)


@WORKLOADS
def test_traffic_leaves_before_calls_are_refused(pod: Json, container: Json) -> None:  # noqa: ARG001
    probe = container["readinessProbe"]
    notice_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert float(flags(container["args"])["drain_delay_s"]) > notice_s


@WORKLOADS
def test_services_cannot_inject_options(pod: Json, container: Json) -> None:  # noqa: ARG001
    assert pod["enableServiceLinks"] is False


@WORKLOADS
def test_container_has_no_privileges(pod: Json, container: Json) -> None:
    security = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_service_is_headless() -> None:
    spec = read("k8s/service.yaml")["spec"]
    assert spec["clusterIP"] == "None"
    assert [port["port"] for port in spec["ports"]] == [8001, 8002]


def test_user_of_the_pod_is_the_user_of_the_image() -> None:
    security = read("k8s/deployment.yaml")["spec"]["template"]["spec"]["securityContext"]
    for image in IMAGES:
        user = dict(instructions(image))["USER"]
        assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_inference_service_uses_the_runtime() -> None:
    runtime = read("kserve/serving-runtime.yaml")
    model = read("kserve/inference-service.yaml")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"] == ["grpc-v2"]
    formats = [entry["name"] for entry in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"]["name"] in formats


# --- rules and dashboard


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_alert_says_what_to_do_and_is_tested_both_ways(alert: Json) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description"}
    fires = [
        bool(look["exp_alerts"])
        for case in read("prometheus/alerts_test.yml")["tests"]
        if case["name"].startswith(f"{alert['alert']}: ")
        for look in [case["alert_rule_test"][-1]]
        if look["alertname"] == alert["alert"]
    ]
    assert set(fires) == {True, False}


def test_bounds_are_edges_of_the_latency_buckets() -> None:
    edges = {str(edge) for edge in LATENCY_BUCKETS}
    bounds = set(re.findall(r'\ble="([^"]+)"', " ".join(QUERIES)))
    assert bounds
    assert bounds <= edges


def test_codes_and_methods_in_queries_exist() -> None:
    text = " ".join(QUERIES)
    codes = {code for group in re.findall(r'code=~?"([^"]+)"', text) for code in group.split("|")}
    assert codes
    assert codes <= {code.name for code in grpc.StatusCode}
    [methods] = set(re.findall(r'method=~"([^"]+)"', text))
    assert re.fullmatch(methods, "/heed.v1.TextService/Embed")
    assert re.fullmatch(methods, "/inference.GRPCInferenceService/ModelInfer")
    assert not re.fullmatch(methods, "/grpc.health.v1.Health/Check")


def test_dashboard_is_the_output_of_its_script() -> None:
    script = DEPLOY / "grafana/build.py"
    built = subprocess.run(
        [sys.executable, "-B", str(script)], capture_output=True, text=True, check=True
    )
    assert built.stdout == (DEPLOY / "grafana/dashboard.json").read_text()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panel_has_unit_legend_and_reading(panel: Json) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    if panel["type"] != "table":
        assert all(query["legendFormat"] for query in panel["targets"])


def test_panels_do_not_overlap() -> None:
    cells = Counter(
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < GRID_WIDTH
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
