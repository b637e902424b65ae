"""What a file is that is no trace, by its first bytes; and what to do about it.

Sources of the magic numbers: RFC 1952 (gzip), RFC 8878 (zstd), the formats' own descriptions of
xz, bzip2, LZ4 and zip, Arrow's columnar format, Parquet's file format, perf.data-file-format.txt
and trace-cmd.dat(5), Git LFS' specification, RFC 3629 and Unicode's FAQ on byte order marks.
"""

from __future__ import annotations

LEAD_BYTES = 16  # that have to be known

_UNPACK = "{what}: unpack it first (`{tool} FILE > OUT`)"
_RECODE = "a text in {what}: `iconv -f {what} -t UTF-8 FILE > OUT` makes it one that can be read"
_MAGIC = (
    (b"\x1f\x8b", _UNPACK.format(what="compressed by gzip", tool="zcat")),
    (b"\x28\xb5\x2f\xfd", _UNPACK.format(what="compressed by zstd", tool="zstdcat")),
    (b"\xfd7zXZ\0", _UNPACK.format(what="compressed by xz", tool="xzcat")),
    (b"BZh", _UNPACK.format(what="compressed by bzip2", tool="bzcat")),
    (b"\x04\x22\x4d\x18", _UNPACK.format(what="compressed by lz4", tool="lz4cat")),
    (b"PK\x03\x04", _UNPACK.format(what="a zip archive", tool="unzip -p")),
    (b"ARROW1", "an Arrow IPC file, and no stream: write it as one (pyarrow.ipc.new_stream)"),
    (b"FEA1", "Feather of version 1, which is no trace: take what it was made of"),
    (b"PAR1", "a Parquet file, which cannot be followed while it is written"),
    (b"PARE", "an encrypted Parquet file: decrypt it first"),
    (b"PERFILE2", "perf's own recording: `perf script -i FILE --ns > OUT` makes a text of it"),
    (
        b"\x17\x08Dtracing",
        "trace-cmd's own recording: `trace-cmd report -t FILE > OUT` makes a text",
    ),
    (b"version https://", "a pointer of Git LFS: `git lfs pull` fetches the file itself"),
    (b"\x7fELF", "a program (ELF)"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe\0\0", _RECODE.format(what="UTF-32")),
    (b"\xff\xfe", _RECODE.format(what="UTF-16")),
    (b"\xfe\xff", _RECODE.format(what="UTF-16")),
    (b"\0" * 8, "nothing but zeros where it begins: was there no room on the disk, or a crash?"),
)
_WEB_PAGE = "a web page: fetch the file itself (is a login wanted?)"
_JSON = "JSON, which is written and not read: take the trace that it was made of"
_TEXT = "a text without an event of ftrace's or perf's: `nvscope convert --recipe` has such"


def foreign(lead: bytes) -> str:
    """What it is, and the way on; "" if that is not known. lead: LEAD_BYTES, or all that there is.

    >>> foreign(bytes([0x1F, 0x8B, 8, 0]))
    'compressed by gzip: unpack it first (`zcat FILE > OUT`)'
    >>> foreign(b"MZ") == foreign(b"PAR1"[:3]) == ""
    True
    """
    for magic, what in _MAGIC:
        if lead.startswith(magic):
            return what
    begun = lead.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begun.startswith((b"<!doctype", b"<html", b"<?xml")):
        return _WEB_PAGE
    return _JSON if begun.startswith((b"{", b"[{")) else ""


def text(lead: bytes) -> str:
    """The same of what is no more than a text.

    >>> text(b"  CPU 0/KVM-71 ")[:6], text(b"MZ\\0")
    ('a text', '')
    """
    is_text = lead and all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F for byte in lead)
    return _TEXT if is_text else ""
