"""runs/inputs.py: text files as UTF-8, and errors that name the file and the line."""

import pytest

from runs.inputs import InputError, errors_name, read_text


@pytest.mark.parametrize(
    "raw, text",
    [
        ("Zoë\nÅl\n".encode(), "Zoë\nÅl\n"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"\xef\xbb\xbfa\nb", "a\nb"),
        ("a\ufeffb\u2028c\x0bd".encode(), "a\ufeffb\u2028c\x0bd"),
        (b"", ""),
    ],
)
def test_read_text(tmp_path, raw, text):
    (tmp_path / "text").write_bytes(raw)
    assert read_text(tmp_path / "text") == text


@pytest.mark.parametrize(
    "raw, line, byte",
    [
        (b"ab\ncd\nZo\xeb\nef", 3, "0xeb"),
        (b"\xef\xbb\xbfa\n\xc3\n", 2, "0xc3"),
        (b"a\r\nb\r\n\x80", 3, "0x80"),
    ],
)
def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path, raw, line, byte):
    path = tmp_path / "text"
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_text(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line {line}: ") and byte in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_errors_name_the_file():
    with pytest.raises(InputError) as caught, errors_name("a.tsv"):
        raise ValueError("line 3: no place")
    assert str(caught.value) == "a.tsv: line 3: no place"
    with pytest.raises(KeyError), errors_name("a.tsv"):  # a mistake in the code stays one
        raise KeyError("a")
