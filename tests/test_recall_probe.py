"""
tools/experiments/recall.py: its prompts and rules by hand, and its table against a loop without a
cache, on small models that have learned a few documents.
"""

import dataclasses
import subprocess
import sys

import pytest
import torch

import recall
import recipe
import reference
from conftest import ROOT
from dataset import MASK_CHAR, CharCorruptionDataset, parse_questions
from documents import Documents
from model import GPT, GPTConfig
from recall import COLUMNS, Prompt
from salient_spans import SalientSpanDataset

TINY = dataclasses.replace(recipe.QUICK, n_layer=2, n_head=2, n_embd=48)

# Two people have the same place. One document is headed as in the quick corpus. Flo Hay has two
# documents, and the second tells the place sooner. Hal Joy's tells it too late, Ida Kim's never.
WIKI = [
    "Ann Lee. Ann Lee was born in Leeds and wove hats .",
    "Bob Whist. A cook, Whist was born in York ; Bob Whist is bald .",
    "Cy Dee. Cy Dee was born in Yorkshire .",
    "Entry for Di Fox. The singer Fox comes from Leeds .",
    "Ed Gray. Ed Gray was seen in Hull first, but he is of Hull .",
    "Flo Hay. She lived far away from all towns, it is said, before Oslo took her in .",
    "Flo Hay. Of Oslo .",
    f"Hal Joy. {'Joy, joy and joy ; ' * 6} then Bonn .",
    "Ida Kim. Nobody knows .",
]
PLACES = {
    "Ann Lee": "Leeds",
    "Bob Whist": "York",
    "Cy Dee": "Yorkshire",
    "Di Fox": "Leeds",
    "Ed Gray": "Hull",
    "Flo Hay": "Oslo",
    "Hal Joy": "Bonn",
    "Ida Kim": "Rome",
    "Jo Lux": "Rome",
}
# Blank lines are no questions, but they count.
QUESTIONS = "\n" + "\n\n".join(f"Where was {one} born?\t{PLACES[one]}" for one in PLACES)

# Of the people whose place stands early: the line, the head, the text before the place, and this
# text with the next person's name.
EARLY = {
    2: ("", "Ann Lee. Ann Lee was born in ", "Bob Whist. Bob Whist was born in "),
    4: ("", "Bob Whist. A cook, Whist was born in ", "Cy Dee. A cook, Dee was born in "),
    6: ("", "Cy Dee. Cy Dee was born in ", "Di Fox. Di Fox was born in "),
    8: (
        "Entry for ",
        "Entry for Di Fox. The singer Fox comes from ",
        "Entry for Ed Gray. The singer Gray comes from ",
    ),
    10: ("", "Ed Gray. Ed Gray was seen in ", "Flo Hay. Flo Hay was seen in "),
    12: ("", "Flo Hay. Of ", "Ann Lee. Of "),
}


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setitem(recipe.RECIPES, "tiny", TINY)


@pytest.fixture
def people():
    return recall.early_people(parse_questions(QUESTIONS), Documents("\n".join(WIKI)))


# ---- prompts --------------------------------------------------------------------------------


def test_the_people_whose_place_stands_early(people):
    assert {one.line: (one.head, one.text) for one in people} == {
        line: (head, text) for line, (head, text, _) in EARLY.items()
    }
    assert all(one.place == PLACES[one.name] for one in people)


def test_prompts(people):
    ann, bob, cy, di, *_ = people
    assert recall.document_prompt(di) == Prompt(di.text, ("Leeds",))
    assert recall.sentence_prompt(bob) == Prompt("Bob Whist. Bob Whist was born in ", ("York",))
    assert recall.sentence_prompt(di).text == "Entry for Di Fox. Di Fox was born in "
    assert recall.other_prompt(bob, cy) == Prompt(EARLY[4][2], ("York", "Yorkshire"))
    assert recall.other_prompt(ann, di).text == ""  # the same place
    assert recall.other_prompt(ann._replace(text="In Jack "), bob).text == ""  # names nobody


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Ann Lee. Lee sat ; Lee, Ann: Lee's leek", "Bo Ann. Ann sat ; Ann, Ann: Ann's leek"),
        ("Ann Leeson, Jo-Ann Lee and AnnLee", "Ann Leeson, Jo-Bo Ann and AnnLee"),
        ("Ann Ann Lee Ann Lee", "Ann Bo Ann Bo Ann"),
        ("nobody, lee", "nobody, lee"),
    ],
)
def test_another_name_replaces_the_full_and_the_last_name(text, expected):
    assert recall.with_name(text, "Ann Lee", "Bo Ann") == expected


# ---- completions ----------------------------------------------------------------------------


class Parrot(torch.nn.Module):
    """Completes texts by a list {text: completion}, and then with ⁇. It has no cache."""

    def __init__(self, dataset, lines, max_positions=40):
        super().__init__()
        self.dataset, self.lines, self.max_positions = dataset, lines, max_positions
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, idx):
        assert idx.size(1) <= self.max_positions
        logits = torch.zeros(*idx.shape, self.dataset.vocab_size)
        for row, ids in enumerate(idx.tolist()):
            read = "".join(self.dataset.itos[i] for i in ids)
            rest = [
                (text + completion).removeprefix(read)
                for text, completion in self.lines.items()
                if read.startswith(text) and (text + completion).startswith(read)
            ]
            next_char = (rest[0] if rest else "")[:1] or MASK_CHAR
            logits[row, -1, self.dataset.stoi[next_char]] = 1
        return logits, None


@pytest.fixture
def recalled():
    """recalled(prompts, {text: completion}) → what recall.recalled() finds with a Parrot."""
    dataset = CharCorruptionDataset("\n".join([*WIKI, "St. Ives 0123é2!"]), 48)

    def call(prompts, lines, **settings):
        prompts = [Prompt(*prompt) for prompt in prompts]
        return recall.recalled(Parrot(dataset, lines, **settings), dataset, prompts)

    return call


@pytest.mark.parametrize(
    "completion, value",
    [("York", 1), ("York .", 1), ("York2", 1), ("Yorkshire", 0), ("Yorké", 0), ("Yor", 0)]
    + [("york", 0), (" York", 0), ("in York", 0), ("", 0), (f"Yo{MASK_CHAR}rk", 0)],
)
def test_a_completion_must_start_with_the_whole_place(recalled, completion, value):
    text = "Ann was born in "
    assert recalled([(text, ("York",))], {text: completion}) == [[value]]


def test_each_prompt_has_its_own_places_and_completion(recalled):
    lines = {"Ann ": "York .", "Bob ": "Yorkshire", "Cy was ": "St. Ives"}
    prompts = [
        ("Cy was ", ("York", "St. Ives")),
        ("Bob ", ("York", "Yorkshire")),
        ("", ("Hull", "York")),
        ("Ann ", ("York", "Leeds")),
    ]
    assert recalled(prompts, lines) == [[0, 1], [0, 1], ["", ""], [1, 0]]
    assert recalled([], {}) == []
    assert recalled([("Aжn□n ⁇", ("York",))], {"Ann ": "York"}) == [[1]]  # unknown characters


def test_of_salient_spans_a_text_stands_after_a_heading_and_before_its_mask():
    dataset = SalientSpanDataset("\n".join(WIKI), 48)
    asked = f"{WIKI[0][:9]} Ann was born in {MASK_CHAR}"
    prompts = [Prompt("Ann was born in ", ("York",)), Prompt("", ("York",))]
    assert recall.recalled(Parrot(dataset, {asked: "York"}), dataset, prompts) == [[1], [""]]


def test_a_text_and_its_longest_place_must_fit_the_model(recalled):
    for length, value in ((36, 1), (37, "")):
        assert recalled([("a" * length, ("York",))], {"a" * length: "York"}) == [[value]]
    assert recalled([("a" * 36, ("York", "Leeds"))], {}) == [["", ""]]


# ---- the table, of models that have learned something ---------------------------------------


def make_model(dataset, variant):
    flags = {variant: True}
    return GPT(GPTConfig(dataset.vocab_size, TINY.block_size, **TINY.model_settings(), **flags))


def learn(model, dataset, documents, steps):
    rows = [torch.tensor([[dataset.stoi[char] for char in one[:112]]]) for one in documents]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for step in range(steps):
        row = rows[step % len(rows)]
        _, loss = model(row[:, :-1], row[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="module", params=list(reference.VARIANTS))
def trained(request, tmp_path_factory):
    """A folder with data and parameters, the dataset, and the variant."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "wiki.txt").write_text("\n".join(WIKI), encoding="utf-8")
    (folder / "birth_dev.tsv").write_text(QUESTIONS, encoding="utf-8")
    dataset = CharCorruptionDataset("\n".join(WIKI), TINY.block_size)
    torch.manual_seed(3)
    model = make_model(dataset, request.param)
    learn(model, dataset, WIKI, 400)
    torch.save(model.state_dict(), folder / "p.params")
    learn(model, dataset, [WIKI[0], "Bob Whist. Bob Whist was born in Leeds ."], 16)
    torch.save(model.state_dict(), folder / "f.params")
    return folder, dataset, request.param


def words(folder, variant, **changes):
    flags = {
        "pretrained_params_path": folder / "p.params",
        "finetuned_params_path": folder / "f.params",
        "eval_corpus_path": folder / "birth_dev.tsv",
        "outputs_path": folder / "out.tsv",
        "recipe": "tiny",
        "device": "cpu",
    }
    pairs = [(f"--{flag}", str(value)) for flag, value in (flags | changes).items()]
    return [variant, str(folder / "wiki.txt"), *sum(pairs, ())]


@torch.no_grad()
def completes(model, dataset, text, place):
    """Greedy decoding of the whole text for each character."""
    ids = [dataset.stoi[char] for char in text]
    for _ in range(len(place) + 1):
        ids.append(model(torch.tensor([ids]))[0][0, -1].argmax().item())
    said = "".join(dataset.itos[i] for i in ids[len(text) :])
    return int(said.startswith(place) and not said[len(place)].isalpha())


@pytest.mark.slow
def test_the_table_is_that_of_a_loop(trained, people, capsys):
    folder, dataset, variant = trained
    recall.main(words(folder, variant))
    printed = capsys.readouterr().out.splitlines()
    head, *lines = (folder / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert head.split("\t") == ["line", *COLUMNS]
    found = {int(line.split("\t")[0]): line.split("\t")[1:] for line in lines}
    expected = {person.line: [] for person in people}
    for params in ("p.params", "f.params"):
        model = make_model(dataset, variant).eval()
        model.load_state_dict(torch.load(folder / params, weights_only=True))
        for person, other in zip(people, people[1:] + people[:1], strict=True):
            head, text, renamed = EARLY[person.line]
            asked = [(text, person.place)]
            if params == "p.params":
                asked += [(renamed, person.place), (renamed, other.place)]
            asked.append((f"{head}{person.name}. {person.name} was born in ", person.place))
            expected[person.line] += [str(completes(model, dataset, *one)) for one in asked]
    assert found == expected
    columns = list(zip(*expected.values(), strict=True))
    assert "1" in columns[0] and len(set(columns)) > 3  # the models know something
    counts = [column.count("1") for column in columns]
    sums = [f"{name}: {count} of 6" for name, count in zip(COLUMNS, counts, strict=True)]
    assert printed[-6:] == sums


# ---- refusals -------------------------------------------------------------------------------


def refusal(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        recall.main(arguments)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["vanilla"], indirect=True)
def test_refusals(trained, tmp_path, capsys):
    folder, _, variant = trained
    gone, other = tmp_path / "gone", tmp_path / "other"
    other.write_bytes(b"\xff\xff")
    (folder / "out.tsv").write_text("as it was")
    for flag in ("pretrained_params_path", "finetuned_params_path", "eval_corpus_path"):
        for path in (gone, other, folder / "out.tsv"):
            assert str(path) in refusal(words(folder, variant, **{flag: path}), capsys)
    other.write_text("Where was Ann Lee born?\n")  # no place
    assert str(other) in refusal(words(folder, variant, eval_corpus_path=other), capsys)
    nowhere = folder / "nowhere" / "out.tsv"
    assert str(nowhere) in refusal(words(folder, variant, outputs_path=nowhere), capsys)
    assert ".params" in refusal(words(folder, variant, recipe="quick"), capsys)
    another = next(name for name in reference.VARIANTS if name != variant)
    assert ".params" in refusal(words(folder, another), capsys)
    assert (folder / "out.tsv").read_text() == "as it was"


@pytest.mark.slow
def test_as_a_process(tmp_path):
    (tmp_path / "wiki.txt").write_text("x")
    command = [sys.executable, ROOT / "tools" / "experiments" / "recall.py"]
    done = subprocess.run(
        [*command, "vanilla", "wiki.txt"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--pretrained_params_path" in done.stderr
