from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2
import pytest
import tifffile
from PIL import Image

from marble_images.errors import CorruptImage, EncryptedPdf, ImageError, TruncatedImage
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import COPYRIGHT_BOX, Box, ConvertOptions, Pyramid
from marble_images_tests.pyramid.images import Array, patches, rgb

_ENCRYPTED = (
    "/Filter /Standard /V 1 /R 2 /Length 40 /P -4 "
    "/O <28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A> "
    "/U <0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF>"
)


def document(
    content: str,
    *,
    page: str = "",
    trailer: str = "",
    pages: int = 1,
    catalog: str = "",
    more: tuple[str, ...] = (),
) -> bytes:
    """A PDF of pages of 96 x 64 points, written by hand; the objects ``more`` follow the last page."""
    kids = " ".join(f"{4 + n} 0 R" for n in range(pages))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        *[f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 96 64] /Contents 3 0 R {page} >>"] * pages,
        *more,
    ]
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def drawn() -> str:
    """The test picture as filled squares of 16 points."""
    squares = []
    for row, colours in enumerate(patches(rgb())):
        for column, (red, green, blue) in enumerate(colours / 255):
            squares.append(f"{red:.5f} {green:.5f} {blue:.5f} rg {column * 16} {48 - row * 16} 16 16 re f")
    return "\n".join(squares)


def convert(data: bytes, tmp_path: Path, **options: object) -> tuple[Array, Pyramid]:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(data)
    pyramid = make_pyramid(source, target, ConvertOptions(**options))  # type: ignore[arg-type]
    return tifffile.imread(target, key=0), pyramid


def test_the_first_page_is_rendered_at_300_dpi(tmp_path: Path) -> None:
    written, pyramid = convert(document(drawn(), pages=3), tmp_path)
    assert written.shape == (267, 400, 3)
    assert (pyramid.source_format, pyramid.source_pages) == ("PDF", 3)
    small = np.asarray(Image.fromarray(written).resize((96, 64), Image.Resampling.BOX))
    assert np.abs(patches(small) - patches(rgb())).max() <= 2


def test_nothing_drawn_is_white_paper(tmp_path: Path) -> None:
    written, _ = convert(document(""), tmp_path)
    assert np.all(written == 255)


def form(field: str, *looks: str) -> bytes:
    """A page with one form field, object 5, from 8, 8 to 88, 56.

    What it looks like is drawn by objects from 6 on; without them it is for the reader to draw.
    """
    widget = f"<< /Type /Annot /Subtype /Widget /Rect [8 8 88 56] /T (name) /P 4 0 R {field} >>"
    fonts = "/DR << /Font << /Helv << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    drawn_by_reader = "false" if looks else "true"
    catalog = (
        f"/AcroForm << /Fields [5 0 R] /NeedAppearances {drawn_by_reader} /DA (/Helv 24 Tf 0 g) {fonts} >>"
    )
    return document("", page="/Annots [5 0 R]", catalog=catalog, more=(widget, *looks))


@pytest.mark.parametrize(
    "field",
    ["/FT /Tx /V (MMMMMM)", "/FT /Ch /Ff 131072 /Opt [(MMMMMM) (NNNN)] /V (MMMMMM)"],
    ids=["text", "choice"],
)
def test_what_was_filled_into_a_form_is_drawn(field: str, tmp_path: Path) -> None:
    written, _ = convert(form(f"{field} /F 4 /DA (/Helv 24 Tf 0 g)"), tmp_path)
    assert (written < 100).mean() > 0.02


@pytest.mark.parametrize(
    "field",
    ["/FT /Tx /F 4", "/FT /Tx /F 4 /V ()", "/FT /Tx /F 2 /V (MMMMMM)"],
    ids=["none", "empty", "hidden"],
)
def test_a_form_that_shows_nothing_leaves_the_paper_white(field: str, tmp_path: Path) -> None:
    written, _ = convert(form(f"{field} /DA (/Helv 24 Tf 0 g)"), tmp_path)
    assert np.all(written == 255)


@pytest.mark.parametrize(("state", "colour"), [("On", (255, 0, 0)), ("Off", (0, 0, 255))])
def test_a_check_box_is_drawn_as_it_was_left(
    state: str, colour: tuple[int, int, int], tmp_path: Path
) -> None:
    kind = "/Type /XObject /Subtype /Form /BBox [0 0 80 48]"
    fills = ("1 0 0 rg 0 0 80 48 re f", "0 0 1 rg 0 0 80 48 re f")
    looks = [f"<< {kind} /Length {len(fill)} >>\nstream\n{fill}\nendstream" for fill in fills]
    field = f"/FT /Btn /F 4 /V /{state} /AS /{state} /AP << /N << /On 6 0 R /Off 7 0 R >> >>"
    written, _ = convert(form(field, *looks), tmp_path, dpi=72.0)
    assert np.all(written[12:52, 12:84] == colour)


def test_the_pages_rotation_is_applied(tmp_path: Path) -> None:
    written, pyramid = convert(document(drawn(), page="/Rotate 90"), tmp_path, dpi=72.0)
    assert (pyramid.width, pyramid.height) == (64, 96)
    assert np.abs(patches(written) - patches(np.rot90(rgb(), -1))).max() <= 2


def test_the_crop_box_is_what_is_shown(tmp_path: Path) -> None:
    written, _ = convert(document(drawn(), page="/CropBox [16 16 64 48]"), tmp_path, dpi=72.0)
    assert written.shape == (32, 48, 3)
    assert np.abs(patches(written) - patches(rgb()[16:48, 16:64])).max() <= 2


@pytest.mark.parametrize("box", [COPYRIGHT_BOX, Box(100, 100), Box(48, 1000)], ids=str)
def test_a_page_that_is_larger_than_the_box_is_rendered_into_it(box: Box, tmp_path: Path) -> None:
    written, pyramid = convert(document(drawn()), tmp_path, box=box, dpi=1200.0)
    assert pyramid.width <= box.width
    assert pyramid.height <= box.height
    assert pyramid.width == box.width or pyramid.height == box.height
    small = np.asarray(
        Image.fromarray(rgb()).resize((pyramid.width, pyramid.height), Image.Resampling.LANCZOS)
    )
    assert np.abs(written.astype(float) - small).mean() < 4


def test_a_page_of_any_size_is_limited_by_the_box(tmp_path: Path) -> None:
    huge = document("1 0 0 rg 0 0 14400 14400 re f").replace(b"[0 0 96 64]", b"[0 0 14400 14400]")
    _, pyramid = convert(huge, tmp_path, box=Box(500, 500))
    assert (pyramid.width, pyramid.height) == (500, 500)


def test_an_encrypted_pdf_is_refused(tmp_path: Path) -> None:
    identifier = "/ID [<0123456789ABCDEF0123456789ABCDEF> <0123456789ABCDEF0123456789ABCDEF>]"
    data = document(drawn(), trailer=f"/Encrypt << {_ENCRYPTED} >> {identifier}")
    with pytest.raises(EncryptedPdf, match="encrypted and needs a password"):
        convert(data, tmp_path)


def test_a_pdf_without_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        convert(document(drawn(), pages=0), tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_cut_pdf_is_refused(share: float, tmp_path: Path) -> None:
    data = document(drawn())
    with pytest.raises((TruncatedImage, CorruptImage)):
        convert(data[: int(len(data) * share)], tmp_path)


def test_a_pdf_that_pdfium_wrote_is_read(tmp_path: Path) -> None:
    made = pypdfium2.PdfDocument.new()
    made.new_page(96, 64)
    made.save(tmp_path / "made.pdf")
    written, _ = convert((tmp_path / "made.pdf").read_bytes(), tmp_path)
    assert np.all(written == 255)
