"""Send every call of an open loop at its instant, late or not.

Locust's users wait after an answer, so a slow server would slow the arrivals down. This loop
follows a schedule that exists already and gives every call a greenlet of its own. It never drops
a call: one that is late is sent at once and its lateness is part of its latency.
"""

from collections.abc import Sequence

from gevent.greenlet import Greenlet
from gevent.pool import Group

from loadtest.arrivals import Instants
from loadtest.client import Client
from loadtest.session import Session


def dispatch(
    session: Session, schedule: Instants, clients: Sequence[Client], max_in_flight: int
) -> None:
    """Run the schedule to its end and wait for the last answer."""
    greenlets = Group()

    def failed(greenlet: "Greenlet[..., None]") -> None:
        if greenlet.exception is not None:
            session.fail(greenlet.exception)

    for index, instant_ns in enumerate(schedule.tolist()):
        if not session.wait_until(instant_ns):
            break
        # Counted by greenlets, not by calls on the wire: a burst may not have begun to send.
        if len(greenlets) >= max_in_flight:
            session.stop(f"{max_in_flight} calls were in flight, the safety limit")
            break
        greenlet = greenlets.spawn(session.call, clients[index % len(clients)], instant_ns)
        greenlet.link_exception(failed)
    else:
        # The measured time does not end with the last arrival, which at a low rate comes earlier.
        session.wait_until(session.span_ns)
    # Every call has a deadline, so this ends.
    greenlets.join()
