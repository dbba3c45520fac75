"""`python -m etl.cli` is `cdr`."""

from etl.cli.main import run

if __name__ == "__main__":
    run()
