"""`python -m vitdsi`, and `torchrun -m vitdsi`: the command line."""

from __future__ import annotations

from vitdsi.cli.main import main

if __name__ == "__main__":
    main()
