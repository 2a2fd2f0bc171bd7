"""`python -m tests.machines`: make the base file system if it is absent, and print where it is."""

import sys

from tests.machines.base import base, finished

if __name__ == "__main__":
    if not finished().exists():
        print("machines: making their base file system with debootstrap, about a minute", file=sys.stderr)
    print(base())
