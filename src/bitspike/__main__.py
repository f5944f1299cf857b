"""Start the command line: ``python -m bitspike`` and the ``bitspike`` script both come here."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line on ``sys.argv`` and return its exit code: 0 fine, 1 a check failed, 2 wrong use.

    The import stands inside the function so that importing this module costs nothing.
    """
    from bitspike.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
