"""
What a pretrained model knows by heart of the people whom it is then asked about, and what is left of it after finetuning.

    python tools/recall.py VARIANT WIKI --pretrained_params_path P --finetuned_params_path F --eval_corpus_path birth_dev.tsv
                           --recipe NAME --outputs_path OUT.tsv

A question finds only what can be asked for. Here the models are not asked, but given a text to go on with, character by character the
most probable one, and the place is looked for at its beginning. Of `Ann Lee. Ann Lee was born in Leeds .` (the quick corpus writes
`Entry for Ann Lee. …`) and with Bob Whist of York as the other person:

    document     Ann Lee. Ann Lee was born in        the person's own document up to the place
    other        Bob Whist. Bob Whist was born in    the same text with another name put in: does it go on with Leeds or with York?
    sentence     Ann Lee. Ann Lee was born in        always these words, whatever the document's are

OUT.tsv has a line of numbers for each question whose place stands early in the person's document (documents.offered()), and no text.
"""
import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from arguments import Parser, check_paths  # noqa: E402
from attention import VARIANTS  # noqa: E402
from checkpoint import load_params  # noqa: E402
from dataset import MASK_CHAR, PAD_CHAR, InputError, errors_name, parse_questions, read_text  # noqa: E402
from decoding import greedy_answers  # noqa: E402
from files import sole_writer  # noqa: E402
from hardware import choose_device  # noqa: E402
from model import GPT, GPTConfig  # noqa: E402
from progress import note  # noqa: E402
from recipe import RECIPES  # noqa: E402
from run import read_corpus, what_to_give, write_lines  # noqa: E402

from documents import Documents, find_place, name_in, offered, whole_word  # noqa: E402

# After the number of the question's line: 1 if the model goes on with the place, 0 if not, nothing where that cannot be asked.
COLUMNS = ("document", "document_other_own", "document_other_other", "sentence", "finetuned_document", "finetuned_sentence")


class Person(NamedTuple):
    """Somebody who is asked about in a line of the questions: the text of the document before the place, and before the name."""
    line: int
    name: str
    place: str
    text: str
    head: str


class Prompt(NamedTuple):
    """A text to go on with, and the places that are looked for. An empty text stands for one that there is no sense in."""
    text: str
    places: tuple


def people_read_of(questions, documents):
    """A Person for each question whose place stands early in the person's document, in their order."""
    people = []
    for question in questions:
        name = name_in(question.text)
        about = documents.about(name)
        if offered(about, question.place) == "early":
            found = find_place(about, question.place)
            people.append(Person(question.line, name, question.place, found.document[:found.start],
                                 found.document[:found.document.index(f"{name}. ")]))
    return people


def after_document(person):
    return Prompt(person.text, (person.place,))


def after_sentence(person):
    return Prompt(f"{person.head}{person.name}. {person.name} was born in ", (person.place,))


def after_others_name(person, other):
    """Nothing where both have one place, or where the text names nobody."""
    text = with_name(person.text, person.name, other.name)
    sense = person.place != other.place and text != person.text
    return Prompt(text if sense else "", (person.place, other.place))


def with_name(text, name, other):
    """The text with another's name for a person's: the full name, and the last name where it stands alone."""
    def last(full):
        return full.split()[-1]

    return re.sub(f"{whole_word(name)}|{whole_word(last(name))}", lambda match: other if match[0] == name else last(other), text)


def recalled(model, dataset, prompts):
    """
    For each Prompt, for each of its places: 1 if the model goes on with it, 0 if not; "" where there is no text, or no room in the model
    for the text and the place. Characters that the corpus lacks are left out of the text, as in evaluation.
    """
    known = dataset.stoi.keys() - {MASK_CHAR, PAD_CHAR}
    texts = [[dataset.stoi[char] for char in prompt.text if char in known] for prompt in prompts]
    longest = [max(map(len, prompt.places)) for prompt in prompts]
    asked = [row for row, text in enumerate(texts) if text and len(text) + longest[row] <= model.max_positions]
    # One character more than the place has, which tells whether it ends there.
    answers = greedy_answers(model, [texts[row] for row in asked], dataset.stoi[MASK_CHAR], max(longest, default=0) + 1)
    found = [[""] * len(prompt.places) for prompt in prompts]
    for row, ids in zip(asked, answers):
        said = "".join(dataset.itos[i] for i in ids)
        found[row] = [int(begins_with(said, place)) for place in prompts[row].places]
    return found


def begins_with(said, place):
    """Whether a text begins with the place, and not with a longer word: Yorkshire is not York."""
    return said.startswith(place) and not said[len(place):len(place) + 1].isalpha()


def recall_table(people, dataset, model, pretrained_params_path, finetuned_params_path):
    """For each Person the number of the line and the values of COLUMNS. The model is left with the finetuned parameters."""
    def load(path):
        load_params(model, path, what_to_give)

    documents, sentences = [*map(after_document, people)], [*map(after_sentence, people)]
    others = [after_others_name(person, people[(number + 1) % len(people)]) for number, person in enumerate(people)]
    load(finetuned_params_path)  # now, since a file that cannot be used is better known at once
    load(pretrained_params_path)
    parts = [recalled(model, dataset, prompts) for prompts in (documents, others, sentences)]
    load(finetuned_params_path)
    parts += [recalled(model, dataset, prompts) for prompts in (documents, sentences)]
    return [[person.line, *(value for part in parts for value in part[number])] for number, person in enumerate(people)]


def carry_out(args):
    """The parsed command line's work. Raises InputError where the input is at fault."""
    for params in (args.pretrained_params_path, args.finetuned_params_path):  # what is to be said of run.py's paths holds of these
        check_paths(argparse.Namespace(function="evaluate", reading_params_path=params, beam=1, **dict.fromkeys((
            "writing_params_path", "finetune_corpus_path", "scores_path", "tb_log_dir")), **vars(args)))
    with sole_writer(args.outputs_path):
        recipe, device = RECIPES[args.recipe], choose_device(args.device)
        dataset = read_corpus(args.pretrain_corpus_path, recipe.block_size)
        with errors_name(args.eval_corpus_path):
            questions = parse_questions(read_text(args.eval_corpus_path))
            if questions[0].place is None:
                raise InputError("no places in it to look for")
        people = people_read_of(questions, Documents("\n".join(dataset.data)))
        model = GPT(GPTConfig(dataset.vocab_size, recipe.block_size, **recipe.model_settings(), **{args.variant: True})).to(device)
        rows = recall_table(people, dataset, model, args.pretrained_params_path, args.finetuned_params_path)
        write_lines(args.outputs_path, ["\t".join(map(str, row)) for row in [("line", *COLUMNS), *rows]])
    for number, column in enumerate(COLUMNS, start=1):
        values = [row[number] for row in rows if row[number] != ""]
        print(f"{column}: {sum(values)} of {len(values)}")


def main(arguments=None):
    parser = Parser(prog="recall.py", description="Measure what a model knows of the people whom it is asked about, before and after "
                                                  "finetuning.")
    parser.add_argument("variant", choices=list(VARIANTS), help="the model's attention")
    parser.add_argument("pretrain_corpus_path", help="the text that the model was pretrained on")
    parser.add_argument("--pretrained_params_path", required=True, help="parameters before finetuning")
    parser.add_argument("--finetuned_params_path", required=True, help="and after it")
    parser.add_argument("--eval_corpus_path", required=True, help="questions with places")
    parser.add_argument("--outputs_path", required=True, help="where to write the table")
    parser.add_argument("--recipe", choices=list(RECIPES), default="course", help="sizes of the model; default course")
    parser.add_argument("--device", help="cuda, cuda:1, cpu …; default: CUDA if there is one, else the CPU")
    args = parser.parse_args(arguments)
    try:
        carry_out(args)
    except InputError as error:
        note(f"recall.py: error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        note("recall.py: interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
