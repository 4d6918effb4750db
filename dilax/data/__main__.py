"""List the known data sets and fetch them into the cache: ``python -m dilax.data``."""

import argparse
import logging
import shutil
import sys
import textwrap

from dilax.data import _cache, _sources
from dilax.data._dataset import DataError
from dilax.data._names import KNOWN_SETS


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        if options.command == "list":
            _list(options.cache_dir)
        else:
            _fetch(options)
    except (DataError, OSError) as error:
        _say(f"error: {error}")
        return 1
    return 0


def _say(text: str) -> None:
    """Print to the standard error; on a terminal, with lines broken between words."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dilax.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--cache-dir", help=f"where the arrays are cached (default: {_cache.default_dir()})"
    )
    commands.add_parser("list", parents=[shared], help="list the known sets and where they are")
    fetch = commands.add_parser("fetch", parents=[shared], help="get a set and cache it")
    fetch.add_argument("name", help="such as cifar10, or any image-classification set of TFDS")
    fetch.add_argument("--data-dir", help="where TFDS keeps prepared sets (default: its own)")
    return parser


def _list(cache_dir: str | None) -> None:
    for name, known in KNOWN_SETS.items():
        counts = " + ".join(f"{count:,}" for count in known.counts.values())
        size = "x".join(map(str, known.image_shape))
        print(f"{name:14} {counts:16} {size:8}  {_state(name, cache_dir):10} {known.title}")
    print(f"{'shapes':14} {'any number':16} 32x32x3   {'drawn':10} procedural, for tests")


def _state(name: str, cache_dir: str | None) -> str:
    if _cache.path_of(name, cache_dir=cache_dir).exists():
        return "cached"
    return "installed" if _sources.is_installed(name) else "to fetch"


def _fetch(options: argparse.Namespace) -> None:
    data = _sources.fetch(options.name, cache_dir=options.cache_dir, data_dir=options.data_dir)
    for split_name, split in data.splits.items():
        print(f"{split_name}: {len(split)} images {split.images.shape[1:]}")
    print(f"{len(data.class_names)} classes; from {data.source}")


if __name__ == "__main__":
    sys.exit(main())
