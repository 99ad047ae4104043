"""What libraries read from the environment of the process when they are first imported.

Importing this module sets it. `server.rpc` and `server.runtime` do so before anything of theirs
imports gRPC or ONNX Runtime, which no other package may import.
"""

import os

# This process forks only to execute something else. Without this, gRPC looks for calls under way at
# each fork and prints what it finds among the lines of the log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# The wheel reports usage to the vendor unless this is set before the first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# With its event engine, gRPC hands every read to a thread pool before Python's event loop hears of
# it; without, a call over loopback takes half as long. Whoever sets the variable knows better.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
