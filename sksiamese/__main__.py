"""Run the command line by ``python -m sksiamese``."""

import sys

from ._cli import main

sys.exit(main())
