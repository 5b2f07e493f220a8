"""python -m pytest tests/test_recall_probe.py

What tools/recall.py finds that a model knows: its texts and rules by hand, and its table against a plain loop, one text at a time and the
whole text anew for each character, over small models that have learned a few documents by heart.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import recall
import recipe
from dataset import MASK_CHAR, CharCorruptionDataset, parse_questions
from documents import Documents
from model import GPT, GPTConfig
from recall import COLUMNS, Person, Prompt
from test_record import DOCUMENTS, PEOPLE, asked

ROOT = Path(__file__).resolve().parent.parent
TINY = dataclasses.replace(recipe.QUICK, n_layer=2, n_head=2, n_embd=48)


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setitem(recipe.RECIPES, "tiny", TINY)


# Two live in the same place; one document is headed as in the quick corpus; of one person there are two, and the second tells the place
# sooner; of the last, one tells it too late and one not at all.
WIKI = [
    "Ann Lee. Ann Lee was born in Leeds and wove hats .",
    "Bob Whist. A cook, Whist was born in York ; Bob Whist is bald .",
    "Cy Dee. Cy Dee was born in Yorkshire .",
    "Entry for Di Fox. The singer Fox comes from Leeds .",
    "Ed Gray. Ed Gray was seen in Hull first, but he is of Hull .",
    "Flo Hay. She lived far away from all towns, it is said, before Oslo took her in .",
    "Flo Hay. Of Oslo .",
    "Gil Ince. Gil Ince was born in St. Ives .",
    f"Hal Joy. {'Joy, joy and joy ; ' * 6} then Bonn .",
    "Ida Kim. Nobody knows .",
]
DEV = {"Ann Lee": "Leeds", "Bob Whist": "York", "Cy Dee": "Yorkshire", "Di Fox": "Leeds", "Ann Lee ": "Leeds", "Ed Gray": "Hull",
       "Flo Hay": "Oslo", "Gil Ince": "St. Ives", "Hal Joy": "Bonn", "Ida Kim": "Rome", "Jo Lux": "Rome"}
QUESTIONS = [f"Where was {name.strip()} born?\t{place}" for name, place in DEV.items()]

# Of each person who is read of: the line, and all that comes before the place. By eye.
READ_OF = {2: ("Ann Lee", "Leeds", "", "Ann Lee. Ann Lee was born in "),
           3: ("Bob Whist", "York", "", "Bob Whist. A cook, Whist was born in "),
           4: ("Cy Dee", "Yorkshire", "", "Cy Dee. Cy Dee was born in "),
           5: ("Di Fox", "Leeds", "Entry for ", "Entry for Di Fox. The singer Fox comes from "),
           6: ("Ann Lee", "Leeds", "", "Ann Lee. Ann Lee was born in "),
           8: ("Ed Gray", "Hull", "", "Ed Gray. Ed Gray was seen in "),
           9: ("Flo Hay", "Oslo", "", "Flo Hay. Of "),
           10: ("Gil Ince", "St. Ives", "", "Gil Ince. Gil Ince was born in ")}
# The same texts with the name of the next one; none of the two who are followed by somebody of the same place.
RENAMED = {2: "Bob Whist. Bob Whist was born in ", 3: "Cy Dee. A cook, Dee was born in ", 4: "Di Fox. Di Fox was born in ",
           5: "", 6: "Ed Gray. Ed Gray was born in ", 8: "Flo Hay. Flo Hay was seen in ", 9: "Gil Ince. Of ",
           10: "Ann Lee. Ann Lee was born in "}
LINES = list(READ_OF)


def write_files(folder, wiki=WIKI, questions=QUESTIONS):
    """wiki.txt, and birth_dev.tsv with blank lines, which are no questions but count."""
    (folder / "wiki.txt").write_text("".join(f"{line}\n" for line in wiki), encoding="utf-8")
    lines = ["", *questions[:5], " ", *questions[5:]]
    (folder / "birth_dev.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def people_of(wiki=WIKI, questions=QUESTIONS):
    lines = ["", *questions[:5], " ", *questions[5:]]
    return recall.people_read_of(parse_questions("\n".join(lines)), Documents("\n".join(wiki)))


# ---- texts ----------------------------------------------------------------------------------------------------------

def test_those_are_read_of_whose_place_stands_early():
    found = {person.line: (person.name, person.place, person.head, person.text) for person in people_of()}
    assert found == READ_OF and list(found) == LINES


def test_what_is_early_is_what_the_record_calls_early():
    """See test_record.py: a place as part of another word does not count, nor one that ends after character 112."""
    questions = parse_questions("\n".join(f"{asked(name)}\t{place}" for name, place in PEOPLE.items()))
    found = {person.name: person for person in recall.people_read_of(questions, Documents("\n".join(DOCUMENTS)))}
    assert list(found) == ["Ann Lee", "Zoë Brøgger", "Kim Day", "Eve Inn"]
    assert found["Kim Day"].text == "Kim Day. Kim Day lived in "
    assert len(found["Eve Inn"].text + "Bonn") == 112


def test_what_a_model_is_given_of_somebody():
    ann, bob, cy, di, *_ = people_of()
    assert recall.after_document(ann) == Prompt("Ann Lee. Ann Lee was born in ", ("Leeds",))
    assert recall.after_document(di) == Prompt("Entry for Di Fox. The singer Fox comes from ", ("Leeds",))
    assert recall.after_sentence(bob) == Prompt("Bob Whist. Bob Whist was born in ", ("York",))
    assert recall.after_sentence(di) == Prompt("Entry for Di Fox. Di Fox was born in ", ("Leeds",))
    assert recall.after_others_name(bob, cy) == Prompt("Cy Dee. A cook, Dee was born in ", ("York", "Yorkshire"))
    assert recall.after_others_name(di, bob).text == "Entry for Bob Whist. The singer Whist comes from "


def test_there_is_no_sense_in_another_name_where_nothing_changes():
    ann, bob, cy, di, again, *_ = people_of()
    assert recall.after_others_name(ann, di).text == "" == recall.after_others_name(ann, again).text  # of the same place
    assert recall.after_others_name(ann, bob._replace(name="Ann Lee")).text == ""
    assert recall.after_others_name(ann._replace(text="In Jack "), bob).text == ""


@pytest.mark.parametrize("text, expected", [
    ("Ann Lee. Lee sat ; Lee, Ann: Lee's leek", "Bo Ann. Ann sat ; Ann, Ann: Ann's leek"),
    ("Ann Leeson, Jo-Ann Lee and AnnLee", "Ann Leeson, Jo-Bo Ann and AnnLee"),
    ("Ann Ann Lee Ann Lee", "Ann Bo Ann Bo Ann"),
    ("Ann M. Lee of Lee's", "Ann M. Ann of Ann's"),
    ("nobody, lee", "nobody, lee"),
])
def test_another_name_stands_for_the_full_and_for_the_last_name(text, expected):
    """Words of their own alone, and what has been put in is not taken for a name again."""
    assert recall.with_name(text, "Ann Lee", "Bo Ann") == expected


def test_names_of_one_word_and_with_other_signs():
    assert recall.with_name("Plato. Plato, Platon", "Plato", "Al Gore Jr.") == "Al Gore Jr.. Al Gore Jr., Platon"
    assert recall.with_name("Bo Bo. Bo", "Bo Bo", "Ann Lee") == "Ann Lee. Lee"
    assert recall.with_name("Al Gore Jr.. Gore Jr., Jrx", "Al Gore Jr.", "Ann Lee") == "Ann Lee. Gore Lee, Jrx"


# ---- what counts as going on with a place ---------------------------------------------------------------------------

class Parrot(torch.nn.Module):
    """Goes on by a list of {text: continuation}; else, and after it, with ⁇. It knows no caches."""

    def __init__(self, dataset, lines, max_positions=40):
        super().__init__()
        self.dataset, self.lines, self.max_positions = dataset, lines, max_positions
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, idx):
        assert idx.size(1) <= self.max_positions
        logits = torch.zeros(*idx.shape, self.dataset.vocab_size)
        for row, ids in enumerate(idx.tolist()):
            read = "".join(self.dataset.itos[i] for i in ids)
            following = MASK_CHAR
            for text, continuation in self.lines.items():
                if read.startswith(text) and continuation.startswith(read[len(text):]) and len(read) < len(text + continuation):
                    following = continuation[len(read) - len(text)]
            logits[row, -1, self.dataset.stoi[following]] = 1
        return logits, None


@pytest.fixture
def recalled(capsys):
    """recalled(prompts, {text: continuation}) → the values that recall.recalled() finds with a Parrot."""
    dataset = CharCorruptionDataset("\n".join([*WIKI, "0123é2!"]), 48)

    def call(prompts, lines, **settings):
        return recall.recalled(Parrot(dataset, lines, **settings), dataset, [Prompt(*prompt) for prompt in prompts])

    return call


@pytest.mark.parametrize("said, value", [
    ("York", 1), ("York .", 1), ("York, ", 1), ("York2", 1), ("York\n", 1), ("York St", 1), ("Yorkshire", 0), ("Yorké", 0), ("Yorkr", 0),
    ("Yor", 0), ("york", 0), (" York", 0), ("in York", 0), ("", 0), ("Leeds", 0), ("Y", 0), (f"Yo{MASK_CHAR}rk", 0)])
def test_a_place_must_come_at_once_and_whole(recalled, said, value):
    assert recalled([("Ann was born in ", ("York",))], {"Ann was born in ": said}) == [[value]]


def test_each_text_has_its_own_places_and_its_own_answer(recalled):
    lines = {"Ann ": "York .", "Bob ": "Yorkshire", "Cy was ": "St. Ives", "Di was ": "old, York"}
    prompts = [("Cy was ", ("York", "St. Ives")), ("Bob ", ("York", "Yorkshire")), ("", ("Hull",)), ("Ann ", ("York", "Leeds")),
               ("", ("a", "b")), ("Di was ", ("York", "St. Ives"))]
    assert recalled(prompts, lines) == [[0, 1], [0, 1], [""], [1, 0], ["", ""], [0, 0]]


def test_nothing_is_said_of_a_text_that_leaves_no_room_for_the_place(recalled):
    """The place's last letter must be read, too, to know that it is the last; the longer of two places counts."""
    for text, value in (("a" * 36, 1), ("a" * 37, "")):
        assert recalled([(text, ("York",))], {text: "York"}) == [[value]]
        assert recalled([(text, ("York",))], {text: "Yorkshire"}) == [[0 if value == 1 else ""]]
    assert recalled([("a" * 36, ("York", "Leeds"))], {}) == [["", ""]]
    assert recalled([("a" * 30, ("York",)), ("a" * 36, ("York",))], {"a" * 36: "York"}, max_positions=40) == [[0], [1]]


def test_characters_that_the_corpus_lacks_are_left_out(recalled):
    assert recalled([("Aжn□n ⁇", ("York",))], {"Ann ": "York"}) == [[1]]
    assert recalled([("ж", ("York",))], {"": "York"}) == [[""]]  # nothing is left


def test_of_no_prompts_nothing_is_known(recalled):
    assert recalled([], {}) == []


# ---- the table, of models that know something -----------------------------------------------------------------------

def learned(dataset, variant, documents, steps, model=None):
    """A small model that has learned documents by heart, more or less."""
    if model is None:
        torch.manual_seed(3)
        model = GPT(GPTConfig(dataset.vocab_size, TINY.block_size, **TINY.model_settings(), **{variant: True}))
    rows = [torch.tensor([[dataset.stoi[char] for char in document[:112]]]) for document in documents]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for step in range(steps):
        row = rows[step % len(rows)]
        _, loss = model(row[:, :-1], row[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module", params=["vanilla", "synthesizer"])
def trained(request, tmp_path_factory):
    """Files and parameters: what was read at first is half forgotten when two documents have been learned more."""
    folder = write_files(tmp_path_factory.mktemp("trained"))
    dataset = CharCorruptionDataset((folder / "wiki.txt").read_text(encoding="utf-8"), TINY.block_size)
    model = learned(dataset, request.param, WIKI, 500)
    torch.save(model.state_dict(), folder / "p.params")
    model = learned(dataset, request.param, [WIKI[0], "Gil Ince. Gil Ince was born in York ."], 16, model)
    torch.save(model.state_dict(), folder / "f.params")
    return folder, dataset, request.param


def words(folder, variant, **changes):
    flags = {"pretrained_params_path": folder / "p.params", "finetuned_params_path": folder / "f.params",
             "eval_corpus_path": folder / "birth_dev.tsv", "recipe": "tiny", "outputs_path": folder / "out.tsv", "device": "cpu", **changes}
    return [variant, str(folder / "wiki.txt"), *(word for flag, value in flags.items() for word in (f"--{flag}", str(value)))]


@torch.no_grad()
def plain(model, dataset, text, place):
    """1 or 0, or nothing without a text: character by character."""
    if text == "":
        return ""
    said = ""
    while len(said) <= len(place) and MASK_CHAR not in said:
        logits, _ = model(torch.tensor([[dataset.stoi[char] for char in text + said]]))
        said += dataset.itos[int(logits[0, -1].argmax())]
    return int(said[:len(place)] == place and (len(said) == len(place) or not said[len(place)].isalpha()))


def test_the_table_is_that_of_a_plain_loop(trained, capsys):
    folder, dataset, variant = trained
    recall.main(words(folder, variant))
    printed = capsys.readouterr().out.splitlines()
    head, *lines = (folder / "out.tsv").read_text(encoding="utf-8").split("\n")
    assert head.split("\t") == ["line", *COLUMNS] and lines.pop() == ""

    model = GPT(GPTConfig(dataset.vocab_size, TINY.block_size, **TINY.model_settings(), **{variant: True})).eval()
    expected = {line: [line] for line in LINES}
    for name in ("p.params", "f.params"):
        model.load_state_dict(torch.load(folder / name, weights_only=True))
        for number, (line, (name_, place, head, text)) in enumerate(READ_OF.items()):
            others_place = READ_OF[LINES[(number + 1) % len(LINES)]][1]
            expected[line].append(plain(model, dataset, text, place))
            if name == "p.params":
                expected[line] += [plain(model, dataset, RENAMED[line], one) for one in (place, others_place)]
            expected[line].append(plain(model, dataset, f"{head}{name_}. {name_} was born in ", place))
    assert [line.split("\t") for line in lines] == [list(map(str, values)) for values in expected.values()]
    columns = list(zip(*expected.values()))[1:]
    assert sum(columns[0]) > 0 < sum(columns[4]) and len({columns[0], columns[3], columns[4], columns[5]}) == 4
    assert columns[1].count("") == columns[2].count("") == 1 and all(1 in column for column in columns)
    assert printed[-6:] == [f"{name}: {sum(v == 1 for v in values)} of {sum(v != '' for v in values)}"
                            for name, values in zip(COLUMNS, columns)]


def test_the_table_has_no_word_of_the_data(trained, capsys):
    folder, _, variant = trained
    recall.main(words(folder, variant))
    _, *lines = (folder / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert set("".join(lines)) <= set("0123456789\t")
    assert not any(place in capsys.readouterr().out for place in DEV.values())


@pytest.mark.parametrize("questions, count", [([QUESTIONS[0]], 1), ([QUESTIONS[-1]], 0)])
def test_one_person_has_nobody_else_and_of_nobody_there_is_a_head_alone(trained, tmp_path, capsys, questions, count):
    folder, _, variant = trained
    (tmp_path / "dev.tsv").write_text("\n".join(questions), encoding="utf-8")
    recall.main(words(folder, variant, eval_corpus_path=tmp_path / "dev.tsv"))
    head, *lines = (folder / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == count and all(line.split("\t")[2:4] == ["", ""] and line.split("\t")[1] in "01" for line in lines)


# ---- what is refused ------------------------------------------------------------------------------------------------

def refusal(folder, variant, capsys, **changes):
    with pytest.raises(SystemExit) as ended:
        recall.main(words(folder, variant, **changes))
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and len(lines) == 1 and lines[0].startswith("recall.py: error: "), lines
    return lines[0]


@pytest.mark.parametrize("flag", ["pretrained_params_path", "finetuned_params_path", "eval_corpus_path"])
def test_a_missing_file_and_one_that_is_something_else_are_one_line(trained, tmp_path, capsys, flag):
    folder, _, variant = trained
    (folder / "out.tsv").write_text("as it was", encoding="utf-8")
    assert f"{tmp_path / 'gone'}: no such file" in refusal(folder, variant, capsys, **{flag: tmp_path / "gone"})
    (tmp_path / "other").write_bytes(b"\xff\xff\xff")
    assert str(tmp_path / "other") in refusal(folder, variant, capsys, **{flag: tmp_path / "other"})
    assert str(folder / "out.tsv") in refusal(folder, variant, capsys, **{flag: folder / "out.tsv"})  # which would be overwritten
    assert (folder / "out.tsv").read_text(encoding="utf-8") == "as it was"


def test_questions_without_places_are_one_line(trained, tmp_path, capsys):
    folder, _, variant = trained
    (tmp_path / "test.tsv").write_text("Where was Ann Lee born?\n", encoding="utf-8")
    assert "test.tsv: no places in it" in refusal(folder, variant, capsys, eval_corpus_path=tmp_path / "test.tsv")


def test_parameters_of_another_variant_or_size_are_one_line(trained, capsys):
    folder, _, variant = trained
    other = {"vanilla": "synthesizer", "synthesizer": "vanilla"}[variant]
    assert "p.params" in refusal(folder, other, capsys) or "f.params" in refusal(folder, other, capsys)
    assert "give --recipe tiny" in refusal(folder, variant, capsys, recipe="quick")


def test_a_folder_for_the_output_that_is_not_there_is_one_line(trained, capsys):
    folder, _, variant = trained
    assert "--outputs_path" in refusal(folder, variant, capsys, outputs_path=folder / "nowhere" / "out.tsv")


def test_the_command_finds_its_modules_and_has_all_its_flags(tmp_path):
    """As a process; a flag that is missing is one line, too."""
    command = [sys.executable, str(ROOT / "tools" / "recall.py")]
    done = subprocess.run([*command, "vanilla", "wiki.txt"], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    flags = ("pretrained_params_path", "finetuned_params_path", "eval_corpus_path", "outputs_path")
    assert all(f"--{flag}" in done.stderr for flag in flags)
