"""The first bytes by which files of each kind are known, longer ones before those that they begin with."""

from __future__ import annotations

from enum import Enum


class ImageFormat(str, Enum):
    """The image formats that are read, by the names that people know them by."""

    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"
    GIF = "GIF"
    WEBP = "WebP"
    PDF = "PDF"
    JPEG2000 = "JPEG 2000"
    HEIC = "HEIC"
    AVIF = "AVIF"
    BMP = "BMP"
    PNM = "PNM"
    JPEGLS = "JPEG-LS"
    JPEGXL = "JPEG XL"
    RADIANCE = "Radiance HDR"
    PSD = "Photoshop"
    ICO = "ICO"
    CUR = "Windows cursor"
    ICNS = "Apple icon"
    PCX = "PCX"
    DCX = "DCX"
    SGI = "SGI"
    SUN = "Sun raster"
    TGA = "TGA"
    QOI = "QOI"
    DDS = "DDS"
    XBM = "XBM"
    XPM = "XPM"
    FLI = "FLI/FLC animation"
    MSP = "MSP"
    PCD = "Kodak Photo CD"
    IM = "IM"
    IMT = "IM Tools"
    FITS = "FITS"
    BLP = "BLP texture"
    FTEX = "FTEX texture"
    PIXAR = "Pixar"
    SPIDER = "SPIDER"
    GBR = "GIMP brush or pattern"
    MCIDAS = "McIDAS area"
    XVTHUMB = "XV thumbnail"

    def __str__(self) -> str:
        return self.value


MAGIC: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff\xf7", ImageFormat.JPEGLS),
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"GIF87a", ImageFormat.GIF),
    (b"GIF89a", ImageFormat.GIF),
    (b"II*\x00", ImageFormat.TIFF),
    (b"MM\x00*", ImageFormat.TIFF),
    (b"II+\x00\x08\x00\x00\x00", ImageFormat.TIFF),
    (b"MM\x00+\x00\x08\x00\x00", ImageFormat.TIFF),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", ImageFormat.JPEG2000),
    (b"\xff\x4f\xff\x51\x00", ImageFormat.JPEG2000),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", ImageFormat.JPEGXL),
    (b"\xff\x0a", ImageFormat.JPEGXL),
    (b"8BPS\x00\x01", ImageFormat.PSD),
    (b"8BPS\x00\x02", ImageFormat.PSD),
    (b"#?RADIANCE", ImageFormat.RADIANCE),
    (b"#?RGBE", ImageFormat.RADIANCE),
    (b"icns", ImageFormat.ICNS),
    (b"\xb1\x68\xde\x3a", ImageFormat.DCX),
    (b"\x59\xa6\x6a\x95", ImageFormat.SUN),
    (b"qoif", ImageFormat.QOI),
    (b"DDS \x7c\x00\x00\x00", ImageFormat.DDS),
    (b"DanM", ImageFormat.MSP),
    (b"LinS", ImageFormat.MSP),
    (b"/* XPM */", ImageFormat.XPM),
    (b"Image type: ", ImageFormat.IM),
    (b"SIMPLE  =", ImageFormat.FITS),
    (b"BLP1", ImageFormat.BLP),
    (b"BLP2", ImageFormat.BLP),
    (b"FTEX", ImageFormat.FTEX),
    (b"\x80\xe8\x00\x00", ImageFormat.PIXAR),
    (b"\x00\x00\x00\x00\x00\x00\x00\x04", ImageFormat.MCIDAS),
    (b"P7 332", ImageFormat.XVTHUMB),
)

UNSUPPORTED: tuple[tuple[bytes, str], ...] = (
    (b"II\xbc\x01", "JPEG XR"),
    (b"IIRO", "Olympus camera raw"),
    (b"IIRS", "Olympus camera raw"),
    (b"MMOR", "Olympus camera raw"),
    (b"IIU\x00", "Panasonic camera raw"),
    (b"FUJIFILMCCD-RAW", "Fujifilm camera raw"),
    (b"FOVb", "Sigma camera raw"),
    (b"AT&TFORM", "DjVu"),
    (b"gimp xcf", "GIMP XCF"),
    (b"v/1\x01", "OpenEXR"),
    (b"SDPX", "DPX"),
    (b"XPDS", "DPX"),
    (b"\x80\x2a\x5f\xd7", "Cineon"),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)"),
    (b"\x01\x00\x09\x00", "Windows metafile (WMF)"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x0e\x03\x13\x01", "HDF4"),
    (b"CDF\x01", "NetCDF"),
    (b"CDF\x02", "NetCDF"),
    (b"GRIB", "GRIB"),
    (b"BUFR", "BUFR"),
    (b"MATLAB 5.0", "MATLAB data"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
    (b"\xabKTX", "KTX"),
    (b"\x97JB2\r\n\x1a\n", "JBIG2"),
    (b"\x08\xf2\xa6\xb6", "VIPS"),
    (b"\xb6\xa6\xf2\x08", "VIPS"),
    (b"id=ImageMagick", "MIFF"),
    (b"farbfeld", "farbfeld"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "Canon camera raw"),
    (b"\x00MRM", "Minolta camera raw"),
    (b"\x53\x80\xf6\x34", "Softimage PIC"),
    (b"\xffWPC", "WordPerfect graphics"),
    (b"\x52\xcc", "Utah RLE"),
    (b"\xab\x01\x01", "VIFF"),
)

# Formats whose interpreter runs programs, opens other files or fetches addresses that the file names.
UNSAFE: tuple[tuple[bytes, str], ...] = (
    (b"%!PS", "PostScript"),
    (b"\x04%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
)

NOT_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "ZIP archive or Office document"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Microsoft Office document"),
    (b"{\\rtf", "RTF document"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"ID3", "MP3 audio"),
    (b"OggS", "Ogg audio or video"),
    (b"fLaC", "FLAC audio"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"\x00\x00\x01\xba", "MPEG video"),
    (b"\x00\x00\x01\xb3", "MPEG video"),
    (b"FLV\x01", "Flash video"),
    (b"SQLite format 3\x00", "SQLite database"),
)
