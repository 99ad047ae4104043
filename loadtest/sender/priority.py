"""Real-time priority, so that whatever else runs on the machine does not delay a call that is due.

The dispatch thread needs Python's lock, which gRPC's threads take as well: raising it alone would
let it wait for one of them that waits for a core. So the whole process is raised.
"""

import os
import sys
from pathlib import Path
from typing import Final

# Above every process of a normal priority, below the kernel's own.
_PRIORITY: Final = 1


def take_realtime() -> bool:
    """Raise every thread of this process, and with it those that they start; False if refused.

    Linux allows it to root, to CAP_SYS_NICE and within the limit RLIMIT_RTPRIO (sched(7)). Round
    robin, so that the threads take turns among themselves. The kernel still keeps a twentieth of
    each core for everybody else.
    """
    if sys.platform != "linux":
        return False
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(_PRIORITY))
    except ProcessLookupError:
        # One of gRPC's ended meanwhile; what it started has its priority or is raised now.
        return take_realtime()
    except OSError:
        # Not permitted, or not there at all, as with musl's C library.
        return False
    return True
