"""Processes are killed, and disks are filled, as POSIX systems do it."""

import sys

collect_ignore_glob = ["*/test_*.py"] if sys.platform == "win32" else []
