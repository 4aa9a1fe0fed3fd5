"""`python -m seriatim`: the command line as a module, as torchrun wants it."""

import sys

from seriatim.cli import main

if __name__ == "__main__":
    sys.exit(main())
