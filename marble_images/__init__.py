"""From a library's changed image files to checked pyramid TIFFs for a IIIF server."""

__version__ = "1.0.0"

RULES_VERSION = "1"
"""Version of the rules that pyramids are made by; a new one makes every published pyramid outdated."""

__all__ = ["RULES_VERSION", "__version__"]
