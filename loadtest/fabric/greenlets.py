"""Turn this process into a gevent process, which Locust needs.

Only for processes that take part in a run, and before they open a socket; never on import of a
module that others may import. gRPC is not made to cooperate, because nothing here makes a call:
senders do, and they are processes of their own without gevent.
"""

from gevent import monkey


def install() -> None:
    """Patch the standard library; safe to call once it is patched already."""
    monkey.patch_all()
