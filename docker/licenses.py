"""List the licenses of what the image holds: ``licenses.py requirements.lock > docs/licenses.md``.

They are read from the packages as installed, so run it in an environment that has them all.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

HEAD = """\
# Licenses

marble_images is under the Apache License 2.0. The image holds these Python packages besides, by the licenses
that they state. `make test-slow` fails when one states another, or one that is not known to be compatible.

Wheels carry libraries of their own, under their own licenses: `pyvips-binary` libvips and what it reads
images with (LGPL and permissive), `imagecodecs` codecs (permissive, libheif LGPL), and `pillow-heif` libheif
and libde265 (LGPL) and x265 (GPL 2). Each is a separate file that is loaded when needed and can be replaced.
Running the image obliges to nothing. Who hands the image on to others hands on x265 under the GPL 2, with
its source: the texts are in the packages' `licenses` folders in the image.

| package | license |
| --- | --- |
"""

# What packages wrote before there was a common language for it (SPDX).
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD-3-Clause, Apache-2.0, dependency licenses": "BSD-3-Clause AND Apache-2.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-only",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

# The image's Python; packages for others, and for other systems, are in the lock file too.
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux"}


def locked_names(lock: str) -> list[str]:
    """The packages of a lock file that are in the image."""
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", lock, re.MULTILINE)
    found = [Requirement(line.strip()) for line in lines]
    return sorted(one.name for one in found if one.marker is None or one.marker.evaluate({**IMAGE}))


def license_of(name: str) -> str:
    """The license that an installed package states, as an SPDX expression where that is known."""
    stated = metadata.metadata(name)
    expression = stated.get("License-Expression")
    if expression:
        return str(expression)
    lines = [line for line in stated.get_all("Classifier") or [] if line.startswith("License ::")]
    classified = [line.rpartition(" :: ")[2] for line in lines]
    named = [line for line in classified if line != "OSI Approved"]
    texts = named or [(stated.get("License") or "").partition("\n")[0].strip()]
    return " OR ".join(SPDX.get(text, text) for text in texts)


def page(lock: str) -> str:
    """The page of the documentation."""
    return HEAD + "".join(f"| {name} | {license_of(name)} |\n" for name in locked_names(lock))


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1]).read_text(encoding="utf-8")))
