"""`python -m loadtest`: the same as `heed-load`."""

import sys

from loadtest.cli import main

sys.exit(main())
