"""Sessions of ONNX Runtime. The only package that imports it."""

import os

# The wheel reports usage to the vendor unless this is set before the first import, and every module
# that imports it lives in this package.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
