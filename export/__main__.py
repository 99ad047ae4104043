"""`python -m export`, the same as `heed-export`."""

import sys

from export.cli import main

sys.exit(main())
