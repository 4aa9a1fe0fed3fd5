"""Which encoding bytes are probably in, so that a message can name it.

UTF-8 needs no guess: other encodings are practically never valid UTF-8 by chance. UTF-16 without
a byte-order mark shows by its high bytes, and everything else is left to charset-normalizer, which
tries encodings and rates how plausible the text is. It is restricted to encodings in common use,
and Windows-1252 (or Latin-1, where no byte tells them apart) is preferred among equals: see
docs/decisions/2026-11-27-encodings.md for what was measured.

Knows bytes. Does not know files.
"""

import codecs
import re

_CANDIDATES = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp850", "cp866"),
    *("mac_roman", "iso8859_2", "iso8859_5", "iso8859_7", "koi8_r"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "utf_16_le", "utf_16_be"),
]
_SAMPLE_BYTES = 1 << 16
_LOW = bytes(range(9))
_COHERENCE_SLACK = 0.05
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # in Windows-1252
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_NOT_ASCII = bytes(range(0x80, 0x100))
_LEAST_BYTES = 8  # beyond ASCII: a few fit any encoding
# Letters and signs in Windows-1252, controls in Latin-1; 0x85 alone is a line end of old machines.
_WINDOWS_ONLY = bytes(b for b in range(0x80, 0xA0) if b != 0x85)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """The encoding of the byte-order mark that data begins with; None if there is none."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def unmarked_utf16(data: bytes) -> str | None:
    """utf-16-le or utf-16-be if every other byte of data is mostly below 9, otherwise None.

    Such are the high bytes of Latin, Greek, Cyrillic, Hebrew and Arabic letters.
    """
    even, odd = (len(half) - len(half.translate(None, _LOW)) for half in (data[::2], data[1::2]))
    is_one_sided = even > 4 * odd or odd > 4 * even
    if len(data) <= 8 or (even + odd) * 5 <= len(data) or not is_one_sided:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def around(data: bytes, position: int) -> bytes:
    """As much of data around a byte as a guess needs, from the beginning of a line if possible."""
    start = max(position - _SAMPLE_BYTES // 2, 0)
    start = data.find(b"\n", start, position) + 1 or start
    return data[start : start + _SAMPLE_BYTES]


def guess_encoding(data: bytes) -> str:
    """The encoding that bytes which are not all UTF-8 are probably in.

    It is utf-8 if few of them are not, and a Western one if charset-normalizer finds none.

    Args:
        data: the beginning of a file, or the surroundings of a byte that is not UTF-8.
    """
    encoding = marked_encoding(data) or unmarked_utf16(data)
    if encoding is not None:
        return encoding
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE_BYTES]
    if _is_mostly_utf8(sample):
        return "utf-8"
    if len(sample) - len(sample.translate(None, _NOT_ASCII)) < _LEAST_BYTES:
        return _western(sample)
    matches = list(from_bytes(sample, cp_isolation=_CANDIDATES))
    if not matches:
        return _western(sample)
    best = matches[0]
    for match in matches:
        is_as_good = (
            match.chaos <= best.chaos and match.coherence >= best.coherence - _COHERENCE_SLACK
        )
        if is_as_good and "cp1252" in match.could_be_from_charset:
            return _western(sample)
    return best.encoding.replace("_", "-")


def _is_mostly_utf8(sample: bytes) -> bool:
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)
    num_invalid = text.count("\ufffd")
    num_others = sum(map(len, _BEYOND_ASCII.findall(text))) - num_invalid
    return num_invalid * 10 <= num_others


def _western(sample: bytes) -> str:
    is_latin1 = sample.translate(None, _WINDOWS_ONLY) == sample
    return "latin-1" if is_latin1 or sample.translate(None, _UNDEFINED) != sample else "cp1252"
