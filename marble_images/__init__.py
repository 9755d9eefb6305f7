"""From a library's changed image files to checked pyramid TIFFs for a IIIF server."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("marble-images")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"

RULES_VERSION = "1"
"""Version of the rules that pyramids are made by; a new one makes every published pyramid outdated."""

__all__ = ["RULES_VERSION", "__version__"]
