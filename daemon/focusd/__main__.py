"""``python -m focusd`` and the command ``focusd``."""

from __future__ import annotations

import sys

from focusd import cli


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
