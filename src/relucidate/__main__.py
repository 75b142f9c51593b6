"""``python -m relucidate`` is the command line."""

from relucidate.interrupting import ends_at_an_interrupt


def main() -> None:
    """Run the command line, its imports included, until it ends or is interrupted."""
    with ends_at_an_interrupt():
        from relucidate.cli import main as run

        run()


if __name__ == "__main__":
    main()
