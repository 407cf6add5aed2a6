"""`python -m fastvrrp` is the `fastvrrp` command."""

from fastvrrp.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
