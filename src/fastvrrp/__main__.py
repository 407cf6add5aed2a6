"""`python -m fastvrrp` is the `fastvrrp` command."""

from fastvrrp.cli.main import entry

if __name__ == "__main__":
    entry()
