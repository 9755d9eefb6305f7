"""The README's table of settings, made from the fields of :class:`~marble_images.settings.Settings`.

``python -m marble_images.settings_page README.md`` writes it anew between its two marks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from marble_images.settings import Settings

BEGIN = "<!-- Made by `python -m marble_images.settings_page README.md` from marble_images/settings.py. -->"
END = "<!-- End of the table of settings. -->"

_REQUIRED = ("image_bucket", "state_bucket")


def table() -> str:
    """One row a setting: name, default, what it is."""
    lines = ["| name | default | what |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "required" if name in _REQUIRED else _shown(field.default)
        lines.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if default in (None, ""):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def written_anew(page: str) -> str:
    """A page with its table of settings as it should be.

    Raises
    ------
    ValueError
        The page has not both marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page lacks the line {BEGIN!r} or the line {END!r}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    _page = Path(sys.argv[1])
    _page.write_text(written_anew(_page.read_text(encoding="utf-8")), encoding="utf-8")
