"""`python -m server` is `heed-serve`."""

import sys

from server.cli import main

sys.exit(main())
