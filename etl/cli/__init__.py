"""The command line."""


def run() -> None:
    """The console script. The commands are imported only now: processes that a command starts import this, too."""
    from etl.cli import main

    main.run()
