"""`python -m etl.cli` is `cdr`."""

from etl.cli import run

if __name__ == "__main__":
    run()
