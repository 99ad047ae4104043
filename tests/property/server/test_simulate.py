"""Replay: every request has one fate, threads work while there is work, and nobody starves."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.arrivals import Arrival
from server.batching.cost import Cost
from server.batching.plan import packed, padded
from server.batching.replay import Job, Played, Service, replay
from server.batching.request_queue import QueueLimits

COST = Cost(run_s=0.004, row_s=1e-4, token_s=1e-4, pair_s=1e-6, segment_s=1e-4)
ROOMY = QueueLimits(max_requests=10_000, max_size=10**9)
TIGHT = QueueLimits(max_requests=4, max_size=120)

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=4)
# Many meet at the same moment, others after a while.
GAPS = st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.5])
DEADLINES = st.sampled_from([None, 0.003, 0.02, 0.1, 1.0])


@st.composite
def recordings(draw: st.DrawFn, *, deadlines: bool = True) -> list[Arrival]:
    arrived_s = 0.0
    arrivals = []
    for lengths in draw(st.lists(LENGTHS, min_size=1, max_size=25)):
        arrived_s += draw(GAPS)
        deadline_s = draw(DEADLINES) if deadlines else None
        arrivals.append(
            Arrival(arrived_s, "model", tuple(lengths), draw(st.integers(1, 3)), deadline_s)
        )
    return arrivals


SERVICES = st.builds(
    Service,
    name=st.just("any"),
    planner=st.sampled_from([packed(COST, 16), padded(4), padded(1)]),
    budget=st.sampled_from([1, 64, 256]),
    cost=st.just(COST),
    limits=st.sampled_from([ROOMY, TIGHT]),
    num_threads=st.integers(1, 3),
    max_delay_s=st.sampled_from([0.0, 0.01]),
    num_levels=st.sampled_from([1, 3]),
    ageing_s=st.sampled_from([0.0, 0.1]),
    predict=st.booleans(),
    by_arrival=st.booleans(),
)


def busy_at(played: Played, moment: float) -> int:
    return sum(run.started_s <= moment < run.ended_s for run in played.runs)


def answered_units(played: Played) -> list[tuple[int, int]]:
    return [(id(item.request), item.index) for run in played.runs for item in run.batch]


def first_start(played: Played, job: Job) -> float:
    return min(
        run.started_s for run in played.runs for item in run.batch if item.request is job.request
    )


def last_end(played: Played, job: Job) -> float:
    return max(
        run.ended_s for run in played.runs for item in run.batch if item.request is job.request
    )


@settings(deadline=None)
@given(recordings(), SERVICES)
def test_no_request_is_lost_or_answered_twice(arrivals: list[Arrival], service: Service) -> None:
    played = replay(arrivals, service)

    assert [job.arrival for job in played.jobs] == arrivals
    units = answered_units(played)
    assert len(units) == len(set(units))
    for job in played.jobs:
        own = sum(1 for request, _ in units if request == id(job.request))
        assert job.fate != "waiting"
        if job.fate == "served":
            assert own == len(job.arrival.lengths)
            assert job.arrival.arrived_s < job.ended_s <= job.deadline
            assert job.ended_s == last_end(played, job)
        elif job.fate == "expired":
            assert job.ended_s == job.deadline
        else:
            assert own == 0


@settings(deadline=None)
@given(recordings(), SERVICES)
def test_same_recording_has_the_same_outcome(arrivals: list[Arrival], service: Service) -> None:
    first, second = replay(arrivals, service), replay(arrivals, service)

    assert [(job.fate, job.ended_s) for job in first.jobs] == [
        (job.fate, job.ended_s) for job in second.jobs
    ]


@settings(deadline=None)
@given(recordings(), SERVICES)
def test_no_more_runs_at_once_than_threads(arrivals: list[Arrival], service: Service) -> None:
    played = replay(arrivals, service)

    for run in played.runs:
        assert busy_at(played, run.started_s) <= service.num_threads
        lengths = [item.size for item in run.batch]
        assert sum(lengths) <= run.plan.padded_tokens


@settings(deadline=None)
@given(recordings(deadlines=False), SERVICES)
def test_busy_time_is_the_sum_of_what_runs_cost(arrivals: list[Arrival], service: Service) -> None:
    played = replay(arrivals, service)

    for run in played.runs:
        cost_s = service.cost.run(len(run.plan.rows), run.plan.width, len(run.batch))
        assert run.busy_s == pytest.approx(cost_s)


@settings(deadline=None)
@given(recordings(), SERVICES)
def test_run_that_nobody_waits_for_costs_less_than_it_would(
    arrivals: list[Arrival], service: Service
) -> None:
    played = replay(arrivals, service)

    served = {id(job.request) for job in played.jobs if job.fate == "served"}
    for run in played.runs:
        assert run.busy_s <= run.cost_s + 1e-9
        if any(id(item.request) in served for item in run.batch):
            assert run.busy_s == pytest.approx(run.cost_s)


@settings(deadline=None)
@given(recordings(), SERVICES)
def test_no_thread_is_idle_while_a_request_waits(arrivals: list[Arrival], service: Service) -> None:
    service = replace(service, max_delay_s=0.0)
    played = replay(arrivals, service)

    for job in played.jobs:
        if job.fate == "served":
            started = first_start(played, job)
            moments = {
                moment
                for run in played.runs
                for moment in (run.started_s, run.ended_s)
                if job.arrival.arrived_s <= moment < started
            } | ({job.arrival.arrived_s} if job.arrival.arrived_s < started else set())
            for moment in moments:
                assert busy_at(played, moment) == service.num_threads


@settings(deadline=None)
@given(recordings(deadlines=False), SERVICES)
def test_idle_thread_holds_back_no_longer_than_it_may(
    arrivals: list[Arrival], service: Service
) -> None:
    # One thread more than there are units: whoever waits does so by choice.
    num_units = sum(len(one.lengths) for one in arrivals)
    service = replace(service, num_threads=num_units + 1, max_delay_s=0.01, limits=ROOMY)
    played = replay(arrivals, service)

    for job in played.jobs:
        assert first_start(played, job) <= job.arrival.arrived_s + 0.01 + 1e-6


@settings(deadline=None)
@given(recordings(deadlines=False), SERVICES)
def test_head_is_in_every_run_so_nobody_starves(arrivals: list[Arrival], service: Service) -> None:
    single = [Arrival(one.arrived_s, one.model, one.lengths[:1], 1, None) for one in arrivals]
    played = replay(single, replace(service, limits=ROOMY))

    assert {job.fate for job in played.jobs} == {"served"}
    starts = [run.started_s for run in played.runs]
    assert starts == sorted(starts)
    for place, job in enumerate(played.jobs):
        number = next(
            number
            for number, run in enumerate(played.runs)
            if any(item.request is job.request for item in run.batch)
        )
        assert number <= place


def test_ageing_lets_the_least_urgent_through() -> None:
    urgent = [Arrival(0.004 * number, "model", (40,), 1, None) for number in range(400)]
    patient = Arrival(0.0, "model", (40,), 3, None)
    service = Service("one", padded(1), 1, COST, ROOMY, num_threads=1, num_levels=3)

    starved = replay([patient, *urgent], service).jobs[0]
    served = replay([urgent[0], patient, *urgent[1:]], service).jobs[1]
    aged = replay([urgent[0], patient, *urgent[1:]], replace(service, ageing_s=0.1)).jobs[1]

    assert starved.delay_s < 0.1, "it came first"
    assert aged.delay_s < 1.0 < served.delay_s


def test_deadline_that_cannot_be_kept_is_refused_or_expires() -> None:
    arrivals = [Arrival(0.0, "model", (80,), 1, limit) for limit in (None, None, 0.03)]
    service = Service("one", padded(1), 1, COST, ROOMY, num_threads=1)

    fates = [
        replay(arrivals, replace(service, predict=predict)).jobs[2].fate
        for predict in (False, True)
    ]

    assert fates == ["expired", "predicted_late"]
    assert math.isinf(replay(arrivals, service).jobs[0].deadline)


def test_expired_request_leaves_its_place_to_others() -> None:
    limits = QueueLimits(max_requests=1, max_size=1000)
    service = Service("one", padded(1), 1, COST, limits, num_threads=1)
    arrivals = [
        Arrival(0.0, "model", (80,), 1, None),
        Arrival(0.001, "model", (5,), 1, 0.002),
        Arrival(0.002, "model", (5,), 1, None),
        Arrival(0.004, "model", (5,), 1, None),
    ]

    fates = [job.fate for job in replay(arrivals, service).jobs]

    assert fates == ["served", "expired", "queue_full", "served"]
