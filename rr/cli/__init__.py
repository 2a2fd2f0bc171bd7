"""`rrctl`: one file per command group, loaded only when it is used; nothing here imports anything heavy."""


def main() -> None:
    """Run rrctl (the console script)."""
    from rr.cli.main import run

    run()
