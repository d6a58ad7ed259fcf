"""``python -m hpa_utils``."""

import os
import sys

from hpa_utils.running.kernel import clean_environment

if __name__ == "__main__":
    if dict(os.environ) != clean_environment():  # most of it counts when Python starts
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean_environment())

    from hpa_utils.running.commands import main

    sys.exit(main())
