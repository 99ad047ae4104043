"""The gRPC side. The only package that imports it."""

import server.environment  # noqa: F401  (before the first import of gRPC)
