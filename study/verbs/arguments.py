"""Arguments that several verbs share."""

import argparse


def add_studies(parser: argparse.ArgumentParser) -> None:
    """Add ``--studies``."""
    parser.add_argument(
        "--studies",
        default="studies",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="folder of studies, or an object store that holds it (default: studies)",
    )
    parser.add_argument(
        "--submit",
        metavar="URL",
        help="do it on the cluster whose Ray dashboard is at URL, where the studies folder lies",
    )


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the name of one study, and ``--studies``."""
    parser.add_argument("name", help="the study's name")
    add_studies(parser)


def add_own_code(parser: argparse.ArgumentParser) -> None:
    """Add ``--own-code``, of verbs that need the space of a study."""
    parser.add_argument(
        "--own-code",
        action="store_true",
        help="with --submit: also send the Python files of the working directory, for a study of a "
        "space of your own",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
