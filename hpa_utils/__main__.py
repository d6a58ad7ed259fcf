"""``python -m hpa_utils``."""

import sys

from hpa_utils.running.commands import main

if __name__ == "__main__":
    sys.exit(main())
