"""What every command takes, and the console."""

import argparse

from tui import cli_values as values


def common(parser: argparse.ArgumentParser, profiles: str, default: object) -> None:
    """Options that may stand before or after the command. A subparser's defaults would undo what stood before."""
    parser.add_argument(
        "--profiles",
        dest=profiles,
        action="append",
        type=values.folder,
        default=[],
        metavar="DIR",
        help="a folder of profiles to search first; may be given more than once",
    )
    parser.add_argument("--read-only", action="store_true", default=default, help="refuse whatever changes anything")
    parser.add_argument("--debug", action="store_true", default=default, help="show tracebacks of unexpected errors")
