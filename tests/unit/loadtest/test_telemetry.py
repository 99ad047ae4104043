from collections.abc import Hashable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import RunFailed
from loadtest.telemetry import find
from loadtest.telemetry.host import throttled
from loadtest.telemetry.listeners import address
from loadtest.telemetry.page import CPU, RSS, parse, restarts
from loadtest.telemetry.processes import parse_switches
from loadtest.telemetry.servers import MetricsPage
from loadtest.telemetry.totals import Total

PAGE = """\
# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {cpu}
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.5e+08
# TYPE process_start_time_seconds gauge
process_start_time_seconds {start}
# TYPE heed_requests_total counter
heed_requests_total{{method="Embed",code="OK"}} 7.0
"""
WORKERS = """\
process_cpu_seconds_total{{worker="0"}} 10.0
process_cpu_seconds_total{{worker="1"}} {cpu}
process_resident_memory_bytes{{worker="0"}} 100
process_resident_memory_bytes{{worker="1"}} 50
process_start_time_seconds{{worker="0"}} 1700000000.25
process_start_time_seconds{{worker="1"}} {start}
heed_worker_restarts_total{{worker="1"}} {restarts}
"""


def test_a_total_keeps_what_ended_parts_had() -> None:
    total = Total(0)

    assert total.update({"a": 10, "b": 5}) == 15
    assert total.update({"a": 12}) == 17
    assert total.update({"a": 12, "c": 3}) == 20


def test_a_count_that_went_down_belongs_to_a_new_part() -> None:
    total = Total(0)
    total.update({"thread": 100})

    assert total.update({"thread": 4}) == 104


@given(st.lists(st.dictionaries(st.integers(0, 5), st.integers(0, 1000))))
def test_a_total_never_goes_down(looks: list[dict[Hashable, int]]) -> None:
    total = Total(0)
    sums = [total.update(look) for look in looks]

    assert sums == sorted(sums)


def test_a_page_of_many_names_yields_those_of_the_process() -> None:
    page = parse(PAGE.format(cpu=12.5, start=1.7e9))

    assert page.values.keys() == {CPU, RSS, "process_start_time_seconds"}
    assert sum(page.of(CPU).values()) == 12.5


@pytest.mark.parametrize("start", [1.7e9, 1.7e9 + 0.1])
def test_the_same_start_time_is_no_restart(start: float) -> None:
    assert (
        restarts(parse(PAGE.format(cpu=1, start=1.7e9)), parse(PAGE.format(cpu=2, start=start)))
        == 0
    )


def test_a_later_start_time_is_a_restart() -> None:
    before = parse(PAGE.format(cpu=100, start=1.7e9))

    assert restarts(before, parse(PAGE.format(cpu=1, start=1.7e9 + 60))) == 1


def test_a_worker_that_came_back_twice_counts_twice() -> None:
    before = parse(WORKERS.format(cpu=1, start=1.7e9, restarts=1))

    assert restarts(before, parse(WORKERS.format(cpu=1, start=1.7e9 + 9, restarts=3))) == 2


def test_a_worker_that_is_being_started_is_no_restart_yet() -> None:
    before = parse(WORKERS.format(cpu=1, start=1.7e9, restarts=0))
    now = parse('process_start_time_seconds{worker="0"} 1700000000.25\n')

    assert restarts(before, now) == 0


def test_not_a_number_is_no_value() -> None:
    assert parse("process_resident_memory_bytes NaN\n").of(RSS) == {}


def test_a_page_adds_its_processes_and_survives_a_restart() -> None:
    pages = iter([
        WORKERS.format(cpu=20, start=1.7e9, restarts=0),
        WORKERS.format(cpu=21, start=1.7e9, restarts=0),
        WORKERS.format(cpu=2, start=1.7e9 + 60, restarts=1),
    ])  # fmt: skip
    source = MetricsPage("http://somewhere/metrics", lambda _: next(pages))

    first, second = source.look(1), source.look(2)

    assert first is not None
    assert second is not None
    assert (first.cpu_s, first.rss_bytes) == (31.0, 150)
    assert second.cpu_s == 33.0
    assert source.restarts == 1
    assert first.threads is None


def test_a_page_that_stops_to_answer_is_noted_once() -> None:
    def fetch(_: str) -> str:
        if not pages:
            raise TimeoutError("timed out")
        return pages.pop()

    pages = [PAGE.format(cpu=1, start=1.7e9)]
    source = MetricsPage("http://somewhere/metrics", fetch)

    assert [source.look(1), source.look(2)] == [None, None]
    assert source.notes == ["2 looks at the metrics failed, last 2.0 s: timed out"]


def test_a_page_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="process_cpu_seconds_total"):
        MetricsPage("http://somewhere/metrics", lambda _: "up 1\n")


def test_switches_of_a_thread_are_read() -> None:
    status = (
        b"Name:\tpython\nThreads:\t3\nvoluntary_ctxt_switches:\t150\n"
        b"nonvoluntary_ctxt_switches:\t8\nx86_Thread_features:\t\n"
    )

    assert parse_switches(status) == (150, 8)


@pytest.mark.parametrize(
    ("target", "port"),
    [("127.0.0.1:8001", 8001), ("[::1]:80", 80), ("dns:///127.0.0.1:9", 9), ("0.0.0.0:7", 7),
     ("ipv4:127.0.0.5:1", 1)],
)  # fmt: skip
def test_addresses_of_this_machine_are_known(target: str, port: int) -> None:
    found = address(target)

    assert found is not None
    assert found.port == port


@pytest.mark.parametrize(
    "target", ["192.0.2.1:8001", "127.0.0.1", "", "localhost:http", ":", "[::1"]
)
def test_other_targets_are_not_of_this_machine(target: str) -> None:
    assert address(target) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [("unix:/run/heed.sock", "/run/heed.sock"), ("unix:///run/heed.sock", "/run/heed.sock"),
     ("unix:heed.sock", "heed.sock")],
)  # fmt: skip
def test_unix_sockets_are_paths(target: str, path: str) -> None:
    found = address(target)

    assert found is not None
    assert found.path == path


def test_a_server_on_another_machine_says_how_to_sample_it() -> None:
    source = find.server("192.0.2.1:8001", None, None)

    assert source.look(0) is None
    assert source.description == ""
    assert "192.0.2.1:8001" in source.notes[0]
    assert "--metrics" in source.notes[0]


@pytest.mark.parametrize("pid", [-1, 2**22 + 1, 2**70])
def test_a_process_that_is_not_there_is_refused(pid: int) -> None:
    with pytest.raises(RunFailed, match="correct --server-pid"):
        find.server("127.0.0.1:1", pid, None)


def test_a_metrics_address_that_is_none_is_refused() -> None:
    with pytest.raises(RunFailed, match="no http address"):
        find.server("127.0.0.1:1", None, "localhost:8002/metrics")


@pytest.mark.parametrize(
    ("line", "folder", "stat", "seconds"),
    [("0::/mine", "mine", "nr_throttled 3\nthrottled_usec 2500000\n", 2.5),
     ("2:cpu,cpuacct:/", "cpu", "nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000\n", 2.5)],
)  # fmt: skip
def test_throttling_is_read_from_either_version(
    tmp_path: Path, line: str, folder: str, stat: str, seconds: float
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cpu.stat").write_text(stat)
    own = tmp_path / "own"
    own.write_text(f"9:memory:/elsewhere\n{line}\n")

    found = throttled(tmp_path, own)

    assert found is not None
    assert (found.times, found.seconds) == (3, seconds)


def test_no_control_groups_is_no_throttling(tmp_path: Path) -> None:
    assert throttled(tmp_path, tmp_path / "missing") is None
