"""
How run.py reads corpora and questions. Before an hour is spent, an error is one line that names
file and line, and what looks like a mistake is noted.
"""

import math
import re
import unicodedata

from dataset import (
    MASK_CHAR,
    PAD_CHAR,
    CharCorruptionDataset,
    NameDataset,
    Question,
    describe,
    parse_questions,
    refuse_reserved,
)
from runs.console import note
from runs.inputs import errors_name, read_text

ANSWER_LENGTH = 32  # characters of a prediction at most


def read_corpus(
    path: str, block_size: int, dataset: type[CharCorruptionDataset] = CharCorruptionDataset
) -> CharCorruptionDataset:
    """The pretraining dataset of a corpus file, without its blank lines (with a note)."""
    text = read_text(path)
    note_blank_lines(path, text)
    with errors_name(path):
        refuse_reserved(text)  # here, where its line numbers are the file's
        documents = [line for line in text.split("\n") if line.strip()]
        if not documents:
            raise ValueError("no document in it")
        form = r"Where was \S.* born\?\s*(\t.*)?"
        questions = sum(bool(re.fullmatch(form, line)) for line in documents)
        if questions > len(documents) / 2:
            raise ValueError("holds questions; a corpus has a document on each line")
        ending = "\n" if text.endswith("\n") else ""
        return dataset("\n".join(documents) + ending, block_size)


def read_names(path: str, pretrain_dataset: CharCorruptionDataset) -> NameDataset:
    """The finetuning dataset of a TSV file. Raises InputError if it cannot be used."""
    text = read_text(path)
    note_blank_lines(path, text)
    with errors_name(path):
        dataset = NameDataset(pretrain_dataset, text)
    if dataset.dropped:
        dropped = f"{dataset.dropped} characters outside ASCII dropped"
        print(f"{path}: {dropped}, as in the course's code")
    note_unusual_questions(path, dataset.data)
    return dataset


def read_questions(path: str) -> list[Question]:
    """The questions of a TSV file, with or without answers. Raises InputError if there is none."""
    text = read_text(path)
    note_blank_lines(path, text)
    with errors_name(path):
        questions = parse_questions(text)
        refuse_places_without_tab(questions)
    return questions


def encode_prompts(
    questions: list[Question],
    pretrain_dataset: CharCorruptionDataset,
    max_positions: int,
    path: str,
) -> list[list[int]]:
    """
    `question ⁇` as ids for each question. A question with a character that is not in the
    vocabulary is normalized (Unicode's NFC, else NFKC); characters that are not in it even then
    are left out. A note says of how many questions either is true. Raises ValueError if the model
    has too few positions.
    """
    known = pretrain_dataset.stoi.keys() - {MASK_CHAR, PAD_CHAR}
    normalized, shortened, prompts = [], [], []
    for question in questions:
        text = question.text
        for form in ("NFC", "NFKC"):
            if not known >= set(text):
                text = unicodedata.normalize(form, question.text)
        if not known >= set(text):
            shortened.append((question.line, sorted(set(text) - known)))
        elif text != question.text:
            normalized.append(question.line)
        ids = [pretrain_dataset.stoi[char] for char in text if char in known]
        prompts.append(ids + [pretrain_dataset.stoi[MASK_CHAR]])
        if len(prompts[-1]) > max_positions:
            raise ValueError(
                f"line {question.line}: the question takes {len(prompts[-1])} characters with its "
                f"{MASK_CHAR}; the model takes {max_positions}"
            )
    if normalized:
        note(
            f"note: {path}: line {normalized[0]}{and_more(normalized)}: characters that are not "
            "in the pretraining corpus replaced by equivalent ones (Unicode normalization)"
        )
    if shortened:
        line, chars = shortened[0]
        note(
            f"warning: {path}: line {line}{and_more(shortened)}: characters that are not in the "
            f"pretraining corpus left out; in line {line} {describe(chars)} not in it"
        )
    return prompts


def and_more(found: list) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def refuse_places_without_tab(questions: list[Question]) -> None:
    """Raises ValueError for text after the question mark where no line has a tab."""
    for line, text, place in questions:
        if place is None and text.partition("?")[2].strip():
            raise ValueError(
                f"line {line}: text after the question mark; a place stands after a tab, and no "
                "line has one"
            )


def note_blank_lines(path: str, text: str) -> None:
    """Prints how many blank lines of a file are skipped. The last line's end counts as none."""
    blank = sum(not line.strip() for line in text.removesuffix("\n").split("\n"))
    if blank and text.strip():
        print(f"{path}: {blank} blank {'line' if blank == 1 else 'lines'} skipped")


def note_unusual_questions(path: str, questions: list[Question]) -> None:
    """
    Warns of questions in another form than the task's (a header, a missing `?`, lower case), and
    of places that no answer can reach.
    """
    unusual = [q.line for q in questions if not re.fullmatch(r"Where was \S.* born\?", q.text)]
    if unusual:
        lines = f"line {unusual[0]}{and_more(unusual)}"
        note(f"warning: {path}: {lines}: not of the form `Where was NAME born?`")
    long = [q.line for q in questions if q.place is not None and len(q.place) > ANSWER_LENGTH]
    if long:
        limit = f"the {ANSWER_LENGTH} characters of an answer"
        note(f"note: {path}: line {long[0]}{and_more(long)}: the place is longer than {limit}")


def note_unusual_corpus(path: str, dataset: CharCorruptionDataset) -> None:
    """Says before a pretraining what would be found out only after it."""
    missing = {char for char in "Where was born?" if char not in dataset.stoi}
    if missing:
        note(
            f"warning: {path}: {describe(sorted(missing))} not in it, so that "
            "`Where was NAME born?` cannot be asked after this pretraining"
        )
    characters = sum(map(len, dataset.data))
    read = sum(min(len(document), dataset.longest) for document in dataset.data)
    if read < characters / 2:
        unread = 100 - math.ceil(100 * read / characters)
        note(
            f"warning: {path}: {unread}% of its characters are never read: only the first "
            f"{dataset.longest} of a line are; one document a line is expected"
        )
