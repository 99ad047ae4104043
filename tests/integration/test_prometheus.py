"""A real Prometheus scrapes a real server under load: every panel has data, every rule works."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import bundles
import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from protos.heed.v1.text_pb2 import EmbedRequest
from protos.heed.v1.text_pb2_grpc import TextServiceStub

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
RULE_GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in RULE_GROUPS for rule in group["rules"] if "alert" in rule]
RECORDED = {rule["record"] for group in RULE_GROUPS for rule in group["rules"] if "record" in rule}

MODEL = "tiny"
NUM_CALLERS = 3
PAUSE_S = 0.01  # per caller: load enough for every histogram, cores left for the others
PATIENCE_S = 20.0
WINDOW = "5s"  # holds several scrapes, one a second
VARIABLES = {
    "$__rate_interval": WINDOW,
    "$__range": WINDOW,
    "$job": "heed",
    "$instance": ".*",
    "$model": ".*",
    "$version": ".*",
}
CONFIG = {
    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
    "rule_files": [str(RULES)],
}
# Everything in PromQL that is a word and not a metric.
WORDS = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\b(?:and|or|unless|bool|offset)\b"
)

# What these watch depends on the machine that runs the tests.
BOUND_TO_MACHINE = {
    "HeedEventLoopLags",
    "HeedLatencyBudgetBurnsFast",
    "HeedLatencyBudgetBurnsSlowly",
    "HeedQueueTooOld",
}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Target:
    """A server under load and the Prometheus that watches it."""

    prometheus: str
    metrics: str

    def api(self, path: str, **parameters: str) -> Any:
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(fetch(url))["data"]

    def query(self, expression: str) -> list[Any]:
        result: list[Any] = self.api("query", query=expression)["result"]
        return result

    def names(self) -> set[str]:
        return set(self.api("label/__name__/values"))


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (loopback)
        text: str = response.read().decode()
    return text


def eventually(look: Callable[[], Result | None], what: str) -> Result:
    """Return the first true answer of `look`, or fail."""
    pause = Event()
    end = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OSError):
            if result := look():
                return result
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE_S:.0f} s for {what}")
        pause.wait(0.1)


@contextmanager
def started(command: list[str], log: Path, stdout: int | None = None) -> Iterator[Any]:
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def load(address: str) -> Iterator[None]:
    """Call the server from several threads until the block ends."""
    over = Event()

    def call(stub: TextServiceStub, number: int) -> None:
        texts = ["attention is all you need " * (1 + (number + n) % 4) for n in range(3)]
        while not over.wait(PAUSE_S):
            stub.Embed(EmbedRequest(model=MODEL, texts=texts), timeout=5)
            with suppress(grpc.RpcError):
                stub.Embed(EmbedRequest(model="unknown", texts=texts), timeout=5)

    with grpc.insecure_channel(address) as channel:
        stub = TextServiceStub(channel)
        threads = [Thread(target=call, args=(stub, number)) for number in range(NUM_CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def tools() -> None:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        hint = f"{' and '.join(missing)} not found: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(hint)
        pytest.skip(hint)


@pytest.fixture(scope="module")
def target(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:  # noqa: ARG001
    root = tmp_path_factory.mktemp("prometheus")
    models = root / "models"
    bundles.build_encoder(models, MODEL)
    with ExitStack() as stack:
        serve = [sys.executable, "-m", "server", "--models", str(models)]
        # Room for one answer at most: runs go on, and both kinds of panels have something to show.
        serve += ["--port", "0", "--ops-port", "0", "--cache-bytes", "1000"]
        server = stack.enter_context(started(serve, root / "server.log", subprocess.PIPE))
        ready = re.match(r"heed ready grpc=(\S+) ops=(\S+)", server.stdout.readline())
        assert ready is not None, (root / "server.log").read_text()
        address, ops = ready.groups()
        stack.enter_context(load(address))

        scrape = {"job_name": "heed", "static_configs": [{"targets": [ops]}]}
        config = root / "prometheus.yml"
        config.write_text(yaml.safe_dump({**CONFIG, "scrape_configs": [scrape]}))
        log = root / "prometheus.log"
        watch = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={root / 'data'}"]
        stack.enter_context(started([*watch, "--web.listen-address=127.0.0.1:0"], log))
        listening = r"Listening on\"? address=(127\.0\.0\.1:[1-9]\d*)"
        port = eventually(lambda: re.search(listening, log.read_text()), "Prometheus to listen")
        found = Target(f"http://{port[1]}", f"http://{ops}/metrics")
        scraped = "min(count_over_time(up[1m])) >= 5"
        eventually(lambda: found.query(scraped), "Prometheus to scrape")
        yield found


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"unknown variable in {expression}"
    return expression


def metric_names(expression: str) -> set[str]:
    """Return the metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = WORDS.sub(" ", re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", bare))
    return set(re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare))


def selectors(expression: str) -> set[str]:
    """Return every `name{matchers}` of an expression."""
    return set(re.findall(r"[a-zA-Z_:][\w:]*\{[^}]*\}", expression))


def promtool(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["promtool", *arguments],  # noqa: S607
        cwd=RULES.parent, input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


PANELS = {
    f"{panel['title']} {query['refId']}": query["expr"]
    for panel in DASHBOARD["panels"]
    for query in panel.get("targets", [])
}


@pytest.mark.parametrize("expression", PANELS.values(), ids=PANELS.keys())
def test_panel_shows_data(target: Target, expression: str) -> None:
    query = filled(expression)
    assert metric_names(query) <= target.names()

    def numbers() -> list[Any]:
        return [series for series in target.query(query) if series["value"][1] != "NaN"]

    assert eventually(numbers, f"a number from {query}")


@pytest.mark.parametrize(
    "variable",
    [entry for entry in DASHBOARD["templating"]["list"] if entry["type"] == "query"],
    ids=lambda entry: str(entry["name"]),
)
def test_variable_offers_values(target: Target, variable: dict[str, Any]) -> None:
    parts = re.fullmatch(r"label_values\((.*), (\w+)\)", filled(variable["query"]["query"]))
    assert parts
    assert target.api(f"label/{parts[2]}/values", **{"match[]": parts[1]})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_alert_asks_for_series_that_exist(target: Target, alert: dict[str, Any]) -> None:
    expression = alert["expr"]
    target.query(expression)
    eventually(
        lambda: metric_names(expression) <= target.names(),
        f"{metric_names(expression) - target.names()}",
    )
    for selector in selectors(expression):
        assert target.query(selector), f"no series matches {selector}"


def test_rules_are_healthy_and_silent_on_a_healthy_server(target: Target) -> None:
    def evaluated() -> list[Any]:
        groups = target.api("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = eventually(evaluated, "all rules to be evaluated")
    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    # Not even pending: most alerts wait longer than this test before they fire.
    stirring = {rule["name"] for rule in rules if rule.get("state", "inactive") != "inactive"}
    assert stirring <= BOUND_TO_MACHINE
    assert {rule["name"] for rule in rules} == RECORDED | {alert["alert"] for alert in ALERTS}


def test_metrics_keep_prometheus_conventions(target: Target) -> None:
    text = fetch(target.metrics)
    assert promtool("check", "metrics", stdin=text) == ""
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"heed_requests", "heed_stage_duration_seconds", "heed_model_ready"} <= families


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*arguments)
