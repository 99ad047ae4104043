"""Sessions of ONNX Runtime. The only package that imports it."""

import server.environment  # noqa: F401  (before the first import of ONNX Runtime)
