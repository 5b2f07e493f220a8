"""reading.py: what run.py says of corpora and questions before any hour is spent."""

import pytest

from conftest import BLOCK_SIZE, TINY_CORPUS, TINY_QUESTIONS
from dataset import MASK_CHAR, CharCorruptionDataset, NameDataset, Question, parse_questions
from reading import (
    encode_prompts,
    note_unusual_corpus,
    note_unusual_questions,
    read_corpus,
    read_names,
    read_questions,
)
from runs.inputs import InputError

QUESTION = "Where was {} born?"


@pytest.fixture
def file(tmp_path):
    """file(text) → the path of a file with that text."""

    def write(text):
        path = tmp_path / "file.txt"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def notes(capsys):
    """The lines on standard error since the last call."""
    return capsys.readouterr().err.splitlines()


def questions(*texts):
    return [Question(line, text, None) for line, text in enumerate(texts, start=1)]


def decoded(prompts, dataset):
    return ["".join(dataset.itos[i] for i in prompt) for prompt in prompts]


# ---- prompts ----


def test_a_prompt_is_the_question_and_the_mask(tiny_pretrain_dataset, capsys):
    text = QUESTION.format("Ann Lee")
    prompts = encode_prompts(questions(text), tiny_pretrain_dataset, BLOCK_SIZE, "file")
    assert decoded(prompts, tiny_pretrain_dataset) == [text + MASK_CHAR]
    assert notes(capsys) == []


@pytest.mark.parametrize(
    "written, read",
    [
        ("Zoe\u0308", "Zoë"),  # NFC composes it
        ("Ｚoë", "Zoë"),  # NFKC alone knows the wide letter
        ("Z\u0153", "Z"),  # œ has no equivalent in the corpus
        ("\u0153Zoe\u0308", "Zoë"),  # composed, and the rest left out
    ],
)
def test_a_character_outside_the_corpus_is_normalized_or_left_out(
    written, read, tiny_pretrain_dataset, capsys
):
    asked = questions(QUESTION.format(written))
    prompts = encode_prompts(asked, tiny_pretrain_dataset, BLOCK_SIZE, "file")
    assert decoded(prompts, tiny_pretrain_dataset) == [QUESTION.format(read) + MASK_CHAR]
    (line,) = notes(capsys)
    assert "file" in line and "line 1" in line


def test_characters_of_the_corpus_stay_as_they_are(capsys):
    """A corpus may hold composed and decomposed letters; those of the question are in it."""
    dataset = CharCorruptionDataset("Zoe\u0308 and Zoë. Where was he born?\n", BLOCK_SIZE)
    capsys.readouterr()
    text = QUESTION.format("Zoe\u0308")
    assert decoded(encode_prompts(questions(text), dataset, 48, "file"), dataset) == [text + "⁇"]
    assert notes(capsys) == []


def test_many_unknown_characters_are_one_note(tiny_pretrain_dataset, capsys):
    asked = questions(*[QUESTION.format(chr(0x4E00 + i)) for i in range(500)])
    encode_prompts(asked, tiny_pretrain_dataset, BLOCK_SIZE, "file")
    (line,) = notes(capsys)
    assert "499" in line and len(line) < 300


def test_a_question_longer_than_the_model_takes_is_refused(tiny_pretrain_dataset):
    asked = questions("Where?", "W" * BLOCK_SIZE)
    with pytest.raises(ValueError, match="line 2"):
        encode_prompts(asked, tiny_pretrain_dataset, BLOCK_SIZE, "file")


# ---- questions ----


def test_places_after_spaces_are_no_questions_without_answers(file):
    text = "Where was Ann Lee born?    Leeds\nWhere was Ed Ng born?    Hull\n"
    with pytest.raises(InputError, match="file.txt.*line 1"):
        read_questions(file(text))


@pytest.mark.parametrize(
    "first",
    [
        "Question",
        "Where was Ann Lee born",
        "where was ann lee born?",
        "Where was born?",
        "Ann Lee",
    ],
)
@pytest.mark.parametrize("answer", ["", "\tLeeds"])
def test_a_question_of_another_form_is_noted(first, answer, file, capsys):
    good = f"Where was Ed Ng born?{answer}\n"
    path = file(good + f"{first}{answer}\n" + good)
    note_unusual_questions(path, read_questions(path))
    (line,) = notes(capsys)
    assert "file.txt" in line and "line 2" in line


def test_usual_questions_are_not_noted(file, capsys):
    text = "Where was Ann Lee born?\tLeeds\nWhere was J. R. R. O'Neil-Smith Jr. born?\tYork\n"
    note_unusual_questions("file", read_questions(file(text)))
    assert notes(capsys) == []


def test_a_place_that_no_answer_can_reach_is_noted(file, tiny_pretrain_dataset, capsys):
    places = ["L" * 32, "L" * 33, "L" * 40]
    path = file("".join(f"Where was Ed Ng born?\t{place}\n" for place in places))
    note_unusual_questions(path, read_questions(path))
    (line,) = notes(capsys)
    assert "line 2 and 1 more" in line


# ---- finetuning corpora ----


def test_characters_are_dropped_within_the_fields(file, tiny_pretrain_dataset, capsys):
    """Not before the line is parsed: the fields of a line are told apart by its tab."""
    path = file("Where was Zoë Lee born?\tLeedsü\nWhere was Ed 李 Ng born?\t Hull 北\n")
    dataset = read_names(path, tiny_pretrain_dataset)
    assert [tuple(question) for question in dataset.data] == [
        (1, "Where was Zo Lee born?", "Leeds"),
        (2, "Where was Ed  Ng born?", "Hull"),
    ]
    assert dataset.dropped == 4
    assert "4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "bad, field",
    [
        ("Where was Li Wei born?\t北京", "place"),
        ("李伟在哪里出生\tBeijing", "question"),
        ("李伟在哪里出生\t北京", "question"),
        ("北京", "place"),  # no tab at all
    ],
)
def test_a_field_without_any_ascii_is_refused_by_its_line(bad, field, tiny_pretrain_dataset):
    text = "Where was Ann Lee born?\tLeeds\n" * 3 + f"{bad}\n" * 2
    with pytest.raises(ValueError, match="line 4") as error:
        NameDataset(tiny_pretrain_dataset, text)
    assert field in str(error.value)


def test_an_ascii_file_loses_nothing(tiny_pretrain_dataset):
    text = "Where was Ann Lee born?\tLeeds\n\nWhere was Ed Ng born?\tHull\n"
    dataset = NameDataset(tiny_pretrain_dataset, text)
    assert dataset.data == parse_questions(text) and dataset.dropped == 0


# ---- pretraining corpora ----


def corpus(text):
    return CharCorruptionDataset(text, 128)


@pytest.mark.parametrize(
    "text, words",
    [
        (TINY_CORPUS.replace("?", ""), ["?"]),
        (TINY_CORPUS.replace("?", "").replace("W", "w"), ["?", "W"]),
        ("Where was it born? " * 30_000 + "\n", ["112"]),
        ("Where was it born? And so on. " * 1000, ["112"]),  # no line end at all
    ],
)
def test_a_corpus_that_would_waste_hours_is_noted(text, words, capsys):
    note_unusual_corpus("wiki.txt", corpus(text))
    (line,) = notes(capsys)
    assert "wiki.txt" in line and all(word in line for word in words)


def test_questions_are_no_corpus(tmp_path):
    path = tmp_path / "births.tsv"
    alone = "".join(line.split("\t")[0] + "\n" for line in TINY_QUESTIONS.splitlines())
    for text in (TINY_QUESTIONS, alone + "A line of another kind.\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="births.tsv"):
            read_corpus(str(path), 48)
    path.write_text(TINY_QUESTIONS.replace("\t", " In "), encoding="utf-8")
    assert len(read_corpus(str(path), 48)) == 4  # documents that are questions with their answers


@pytest.mark.parametrize("length", [20, 112, 200])
def test_a_usual_corpus_is_not_noted(length, capsys):
    note_unusual_corpus("wiki.txt", corpus(f"{'Where was it born? ' * 20}"[:length] + "\n"))
    note_unusual_corpus("wiki.txt", corpus(TINY_CORPUS))
    assert notes(capsys) == []


def test_blank_lines_are_left_out_of_a_corpus(file, capsys):
    dataset = read_corpus(file("One.\n\n \nTwo.\n"), 128)
    assert dataset.data == ["One.", "Two.", ""]
    assert "2 blank lines" in capsys.readouterr().out


def test_a_corpus_of_blank_lines_is_refused(file):
    with pytest.raises(InputError, match="file.txt"):
        read_corpus(file("\n \n"), 128)


def test_a_reserved_character_is_named_by_the_line_of_the_file(file):
    with pytest.raises(InputError, match="line 3"):
        read_corpus(file("One.\n\nT□o.\n"), 128)
