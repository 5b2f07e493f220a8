"""
Measures what a pretrained model recalls of the people it is later asked about, before and after
finetuning.

    python tools/experiments/recall.py VARIANT WIKI --pretrained_params_path P
        --finetuned_params_path F --eval_corpus_path birth_dev.tsv --outputs_path OUT.tsv
        [--recipe NAME]

The model completes a text by greedy decoding. The measurement is whether the completion starts
with the birth place. Take `Ann Lee. Ann Lee was born in Leeds .` and, as the other person, Bob
Whist of York. In the quick corpus documents start with `Entry for`.

    document     Ann Lee. Ann Lee was born in        the document up to the place
    other        Bob Whist. Bob Whist was born in    the same with the other name: Leeds, or York?
    sentence     Ann Lee. Ann Lee was born in        these words, whatever the document says

OUT.tsv has a line of numbers for each question whose place stands early in the person's document
(see documents.offered()). It has no text.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus")]
import run  # noqa: E402, before torch

# isort: split
from arguments import (  # noqa: E402
    InputPath,
    OutputPath,
    add_bottleneck_dim,
    check_paths,
    settle_bottleneck_dim,
)
from attention import VARIANTS  # noqa: E402
from dataset import MASK_CHAR, PAD_CHAR, parse_questions  # noqa: E402
from documents import Documents, find_place, name_in, offered, whole_word  # noqa: E402
from fast.decoding import generate  # noqa: E402
from model import GPT  # noqa: E402
from recipe import RECIPES  # noqa: E402
from runs.checkpoint import load_params  # noqa: E402
from runs.console import Parser, command  # noqa: E402
from runs.device import choose_device  # noqa: E402
from runs.files import sole_writer, write_lines  # noqa: E402
from runs.inputs import errors_name, read_text  # noqa: E402
from salient_spans import SalientSpanDataset  # noqa: E402

# After the number of the question's line: 1 if the completion starts with the place, else 0;
# empty where the model cannot be asked.
COLUMNS = (
    "document",
    "document_other_own",
    "document_other_other",
    "sentence",
    "finetuned_document",
    "finetuned_sentence",
)


class Person(NamedTuple):
    """A person of a question, and the document: text before the place, head before the name."""

    line: int
    name: str
    place: str
    text: str
    head: str


class Prompt(NamedTuple):
    """A text to complete, and the places to look for. The text is empty if none makes sense."""

    text: str
    places: tuple


def early_people(questions, documents):
    """The Person of each question whose place stands early in the person's document."""
    people = []
    for question in questions:
        name = name_in(question.text)
        about = documents.about(name)
        if offered(about, question.place) == "early":
            document, start, _ = find_place(about, question.place)
            head = document[: document.index(f"{name}. ")]
            people.append(Person(question.line, name, question.place, document[:start], head))
    return people


def document_prompt(person):
    return Prompt(person.text, (person.place,))


def sentence_prompt(person):
    text = f"{person.head}{person.name}. {person.name} was born in "
    return Prompt(text, (person.place,))


def other_prompt(person, other):
    """Empty if both have the same place, or if the text names nobody."""
    text = with_name(person.text, person.name, other.name)
    sense = person.place != other.place and text != person.text
    return Prompt(text if sense else "", (person.place, other.place))


def with_name(text, name, other):
    """The text with `other` for `name`: the full name, and the last name where it is alone."""
    last, other_last = name.split()[-1], other.split()[-1]
    return re.sub(
        f"{whole_word(name)}|{whole_word(last)}",
        lambda match: other if match[0] == name else other_last,
        text,
    )


def recalled(model, dataset, prompts):
    """
    For each place of each Prompt: 1 if the completion starts with it, else 0; "" for an empty
    text, or if text and place do not fit the model. Unknown characters are left out of the text,
    as in evaluation. For salient spans, the text stands as in pretraining: after a heading, which
    is the corpus's beginning, and before a ⁇.
    """
    known = dataset.stoi.keys() - {MASK_CHAR, PAD_CHAR}
    texts = [[dataset.stoi[char] for char in prompt.text if char in known] for prompt in prompts]
    if isinstance(dataset, SalientSpanDataset):
        heading = f"{dataset.data[0][: dataset.HEADING - 1]:{dataset.HEADING}}"
        before, after = ([dataset.stoi[char] for char in part] for part in (heading, MASK_CHAR))
        texts = [[*before, *text, *after] if text else [] for text in texts]
    longest = [max(map(len, prompt.places)) for prompt in prompts]
    asked = [
        row
        for row, text in enumerate(texts)
        if text and len(text) + longest[row] <= model.max_positions
    ]
    # One character more than the place, to see whether the word ends there.
    count = max(longest, default=0) + 1
    stop_id = dataset.stoi[MASK_CHAR]
    answers = generate(model, [texts[row] for row in asked], stop_id, count)
    found = [[""] * len(prompt.places) for prompt in prompts]
    for row, answer in zip(asked, answers, strict=True):
        completion = "".join(dataset.itos[i] for i in answer.ids)
        found[row] = [int(starts_with(completion, place)) for place in prompts[row].places]
    return found


def starts_with(completion, place):
    """Whether a completion starts with the place as a whole word: Yorkshire is not York."""
    end = completion[len(place) : len(place) + 1]
    return completion.startswith(place) and not end.isalpha()


def recall_table(people, dataset, model, pretrained, finetuned, meta=None):
    """
    For each Person the line's number and the values of COLUMNS. pretrained, finetuned: paths of
    parameters; meta: see load_params().
    """

    def load(path):
        load_params(model, path, run.what_to_give, meta)

    documents = [document_prompt(person) for person in people]
    sentences = [sentence_prompt(person) for person in people]
    nexts = people[1:] + people[:1]
    others = [other_prompt(*pair) for pair in zip(people, nexts, strict=True)]
    load(finetuned)  # an error should come at once
    load(pretrained)
    parts = [recalled(model, dataset, prompts) for prompts in (documents, others, sentences)]
    load(finetuned)
    parts += [recalled(model, dataset, prompts) for prompts in (documents, sentences)]
    columns = [[person.line for person in people], *parts]
    return [[line, *sum(values, [])] for line, *values in zip(*columns, strict=True)]


def carry_out(args):
    """Raises InputError where the input is at fault."""
    check_paths(args)
    with sole_writer(args.outputs_path):
        recipe = RECIPES[args.recipe]
        dataset = run.read_corpus(args.pretrain_corpus_path, recipe.block_size, recipe.dataset)
        with errors_name(args.eval_corpus_path):
            questions = parse_questions(read_text(args.eval_corpus_path))
            if questions[0].place is None:
                raise ValueError("no places in it to look for")
        people = early_people(questions, Documents("\n".join(dataset.data)))
        config = run.configure(args, dataset)
        model = GPT(config).to(choose_device(args.device))
        meta = run.describe_params(args, config, dataset)
        paths = args.pretrained_params_path, args.finetuned_params_path
        rows = recall_table(people, dataset, model, *paths, meta)
        table = [("line", *COLUMNS), *rows]
        write_lines(args.outputs_path, ["\t".join(map(str, row)) for row in table])
    for number, column in enumerate(COLUMNS, start=1):
        values = [row[number] for row in rows if row[number] != ""]
        print(f"{column}: {sum(values)} of {len(values)}")


def parse_arguments(arguments):
    parser = Parser(prog="recall.py", description="Measure what a model recalls of people.")
    parser.add_argument("variant", choices=list(VARIANTS), help="the model's attention")
    parser.add_argument("pretrain_corpus_path", type=InputPath, help="the pretraining corpus")
    for flag, content in (
        ("pretrained_params_path", "parameters before finetuning"),
        ("finetuned_params_path", "parameters after finetuning"),
        ("eval_corpus_path", "questions with places"),
    ):
        parser.add_argument(f"--{flag}", type=InputPath, required=True, help=content)
    parser.add_argument("--outputs_path", type=OutputPath, required=True, help="the table")
    parser.add_argument("--recipe", choices=list(RECIPES), default="course", help="default course")
    add_bottleneck_dim(parser)
    parser.add_argument("--device", help="cuda, cuda:1, cpu …; default: CUDA if there is one")
    args = parser.parse_args(arguments)
    settle_bottleneck_dim(parser, args)
    return argparse.Namespace(function="recall", seed=None, **vars(args))


def main(arguments=None):
    args = parse_arguments(arguments)
    with command("recall.py"):
        carry_out(args)


if __name__ == "__main__":
    main()
