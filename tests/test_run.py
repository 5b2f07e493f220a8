"""
The command line on tiny corpora: the handout's commands as they stand, what evaluation prints and
writes, seeds, what parameters belong to, and one line for each mistake in a file.
"""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import torch

import reference
import run
from attention import VARIANTS
from commands import (
    EVALUATE,
    FINETUNE,
    FINETUNE_SOME,
    PRETRAIN,
    SCORES,
    SMALL,
    answers,
    call,
    content,
    files,
    refused,
    small_model,
    some_params,
)
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset
from model import GPT, GPTConfig
from recipe import QUICK, RECIPES
from runs.inputs import read_text

pytestmark = pytest.mark.usefixtures("folder")


HANDOUT = """
    python src/run.py finetune vanilla wiki.txt --writing_params_path vanilla.model.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.nopretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.nopretrain.test.predictions
    python src/run.py pretrain vanilla wiki.txt --writing_params_path vanilla.pretrain.params
    python src/run.py finetune vanilla wiki.txt --reading_params_path vanilla.pretrain.params --writing_params_path vanilla.finetune.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.pretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.pretrain.test.predictions
"""  # noqa: E501


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


# ---- the handout ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant, flags",
    [(name, "") for name in VARIANTS] + [("vanilla", " --recipe quick --seed 3 --device cpu")],
)
def test_the_handouts_commands_work_as_they_stand(capsys, monkeypatch, variant, flags):
    if "quick" in flags:
        monkeypatch.setitem(run.RECIPES, "quick", QUICK)  # the real one
    for line in HANDOUT.replace("vanilla", variant).strip().splitlines():
        words = shlex.split(line + flags)
        is_training = "evaluate" not in words
        if is_training and flags:
            words += ["--max_epochs", "1"]
        flag = "--writing_params_path" if is_training else "--outputs_path"
        written = words[words.index(flag) + 1]
        before = files()
        run.main(words[2:])
        out, err = capsys.readouterr()
        beside = {f"{written}.json", f"{written}.log.jsonl"} if is_training else set()
        assert files() - before == {written} | beside
        assert f"data has {len(TINY_CORPUS)} characters, " in out
        assert re.search(r"^number of parameters: \d+$", out, re.M)
        if is_training:
            state = torch.load(written, weights_only=True)
            assert state.keys() >= small_model(variant, n_layer=2).state_dict().keys()
            assert re.search(r"^epoch (\d+)/\1, step (\d+)/\2: loss \d", err, re.M)
        elif "birth_dev.tsv" in words:
            assert re.search(r"^Correct: [0-3]\.0 out of 3\.0: \d+\.\d+%$", out, re.M)
            assert len(read_text(written).split("\n")) == 3 + 1
        else:
            assert out.endswith(
                "No gold birth places provided; returning (0,0)\n"
                f"Predictions written to {written}; no targets provided\n"
            )
            assert len(read_text(written).split("\n")) == 3 + 1


def test_the_variant_reaches_the_model(untrained, variant):
    call(PRETRAIN.replace("vanilla", variant))
    assert type(untrained[0].model.blocks[0].attn) is VARIANTS[variant]


def test_flags_reach_the_trainer(untrained, monkeypatch):
    monkeypatch.setattr("trainer.check_compiler", lambda device: None)
    flags = " --seed 5 --max_epochs 7 --device cpu --precision bfloat16 --micro_batch_size 3"
    flags += " --compile"
    for command in (PRETRAIN, FINETUNE):
        call(command)
        call(command + flags)
    names = ("seed", "max_epochs", "micro_batch_size", "compile", "precision")
    found = [tuple(getattr(t.config, name) for name in names) for t in untrained]
    assert found == 2 * [(0, 1, None, False, "auto"), (5, 7, 3, True, "bfloat16")]
    assert untrained[1].precision == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_that_nobody_asked_for_is_noted(untrained, monkeypatch, capsys, native):
    monkeypatch.setattr("runs.device.multiplies_bfloat16", lambda device: native)
    for flags in ("", " --precision bfloat16", " --precision float32"):
        call(PRETRAIN + flags)
        assert ("bfloat16" in capsys.readouterr().err) == (native and not flags)


def test_finetuning_starts_from_the_parameters_given(untrained):
    state = some_params().state_dict()
    call(FINETUNE_SOME)
    call(FINETUNE)
    given, scratch = (trainer.model.state_dict() for trainer in untrained)
    for name in ("head.weight", "tok_emb.weight", "blocks.0.mlp.0.weight"):
        assert torch.equal(given[name], state[name]) and not torch.equal(
            scratch[name], state[name]
        )


def test_finetuning_may_write_over_what_it_read():
    before = some_params("finetune.params").state_dict()
    call(FINETUNE + " --reading_params_path finetune.params")
    after = torch.load("finetune.params", weights_only=True)
    assert not torch.equal(after["head.weight"], before["head.weight"])


# ---- evaluation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "places, line",
    [
        (("Leeds", "York", "Hull"), "Correct: 3.0 out of 3.0: 100.0%"),
        (("Leeds", "Ålesund", "York"), "Correct: 1.0 out of 3.0: 33.33333333333333%"),
        (("York", "", "hull"), "Correct: 0.0 out of 3.0: 0.0%"),
    ],
)
def test_evaluation_prints_the_score_and_writes_the_places(monkeypatch, capsys, places, line):
    some_params()
    asked = answers(monkeypatch, *places)
    call(EVALUATE)
    assert last_line(capsys) == line
    assert content("out.predictions") == "".join(f"{place}\n" for place in places).encode()
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    prompts = ["".join(itos[i] for i in ids) for ids in asked]
    assert prompts == [line.split("\t")[0] + "\u2047" for line in TINY_QUESTIONS.splitlines()]


def test_unknown_characters_are_left_out_with_a_warning(folder, monkeypatch, capsys):
    text = TINY_QUESTIONS + "\nWhere was Šid Žig born?\tYork\n"
    (folder / "birth_dev.tsv").write_text(text, encoding="utf-8")
    some_params()
    asked = answers(monkeypatch, "Leeds", "York", "Hull", "York")
    call(EVALUATE)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert all(part in err for part in ("birth_dev.tsv: line 5", "U+0160", "U+017D"))
    assert out.splitlines()[-1] == "Correct: 4.0 out of 4.0: 100.0%"
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    assert "".join(itos[i] for i in asked[3]) == "Where was id ig born?\u2047"


def test_tabs_and_line_ends_in_a_prediction_shift_no_lines_and_columns(folder, monkeypatch):
    corpus = TINY_CORPUS.replace(" .\n", " .\t\u2028\n")
    (folder / "wiki.txt").write_text(corpus, encoding="utf-8")
    some_params(corpus=corpus)
    answers(monkeypatch, "Le\neds", "Yo\u2028rk", "\tHu\t")
    call(SCORES)
    assert content("out.predictions") == b"Le eds\nYo rk\n\tHu\t\n"
    rows = [line.split("\t") for line in read_text("out.scores").splitlines()]
    assert [len(row) for row in rows] == [5] * 4
    assert [row[1] for row in rows[1:]] == ["Le eds", "Yo rk", " Hu "]


def test_the_table_of_scores(monkeypatch):
    """Six digits of the probability; 1 where the prediction is the place, to the letter."""
    some_params()
    answers(monkeypatch, "Leeds", "", "hull", probabilities=(1, 0.1234567, 1.2345678e-11))
    call(SCORES)
    assert read_text("out.scores") == (
        "question\tprediction\tprobability\tplace\tcorrect\n"
        "Where was Ann Lee born?\tLeeds\t1\tLeeds\t1\n"
        "Where was Bob Whist born?\t\t0.123457\tYork\t0\n"
        "Where was Ed Ng born?\thull\t1.23457e-11\tHull\t0\n"
    )
    assert content("out.predictions") == b"Leeds\n\nhull\n"
    answers(monkeypatch, "Leeds", "York", "Hull")
    call(SCORES.replace("birth_dev.tsv", "birth_test_inputs.tsv"))
    assert read_text("out.scores").splitlines()[2] == "Where was Bob Whist born?\tYork\t0.5\t\t"


def test_a_beam_search_tells_how_much_is_proven(monkeypatch, capsys):
    some_params()
    answers(monkeypatch, "Leeds", "York", "York", proven=[True, False, True], beam=4)
    call(SCORES + " --beam 4")
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "beam 4" in err and "2 of 3" in err
    assert out.splitlines()[-1] == "Correct: 2.0 out of 3.0: 66.66666666666666%"
    assert [line.split("\t")[5] for line in read_text("out.scores").splitlines()] == [
        "proven",
        "1",
        "0",
        "1",
    ]


def test_a_real_models_predictions_are_the_references(known_variant):
    """
    Each character is the reference's most probable one, up to the block's end. The scores change
    no prediction, and their probability is the product over the characters.
    """
    model = some_params(scale=0.7, variant=known_variant)
    state = model.state_dict()
    state["head.weight"][1] *= 0.1  # hardly any ⁇, so that answers are long
    torch.save(state, "some.params")
    command = EVALUATE.replace("vanilla", known_variant, 1)
    call(command)
    predictions = content("out.predictions")
    call(command + " --scores_path out.scores --beam 1")
    assert content("out.predictions") == predictions

    dataset = CharCorruptionDataset(TINY_CORPUS, 48)
    question, answer, score = read_text("out.scores").split("\n")[1].split("\t")[:3]
    ids = [dataset.stoi[char] for char in question + "\u2047" + answer]
    assert len(answer) > 3 and len(ids) == model.max_positions + 1
    logits = reference.gpt_logits(state, torch.tensor([ids[:-1]]), 3, 2)[0]
    product = 1.0
    for z, char in zip(logits[len(question) :], ids[len(question) + 1 :], strict=True):
        assert z.argmax() == char
        product *= reference.softmax(z).max().item()
    assert float(score) == pytest.approx(product, rel=1e-3)


@pytest.mark.parametrize("positions, variant", [(48, "vanilla"), (47, "synthesizer")])
def test_a_question_just_fits_or_is_too_long(folder, capsys, variant, positions):
    some_params(variant=variant)
    command = EVALUATE.replace("vanilla", variant, 1)
    text = "Where " * 10
    (folder / "birth_dev.tsv").write_text(f"Where?\n{text[: positions - 2]}?\n")
    call(command)
    assert len(read_text("out.predictions").split("\n")[1]) <= 1
    (folder / "birth_dev.tsv").write_text(f"Where?\n\n{text[: positions - 1]}?\n")
    refused(capsys, command, "birth_dev.tsv: line 3", str(positions + 1), str(positions))


# ---- the same again -------------------------------------------------------------------------


def run_of_three_stages(seed):
    """The bytes of the parameters and predictions of a run."""
    for command in (
        PRETRAIN,
        FINETUNE + " --reading_params_path pretrain.params",
        EVALUATE.replace("some", "finetune"),
    ):
        call(f"{command} --seed {seed}" + ("" if "evaluate" in command else " --max_epochs 2"))
    return [content(name) for name in ("pretrain.params", "finetune.params", "out.predictions")]


def test_the_same_seed_gives_the_same_bytes():
    first = run_of_three_stages(1)
    torch.manual_seed(99)
    assert run_of_three_stages(1) == first
    other = run_of_three_stages(2)
    assert other[0] != first[0] and other[1] != first[1]


def test_the_form_of_the_files_changes_nothing(folder, capsys):
    """Line ends of Windows, a byte-order mark, and blank lines, which are counted in a note."""
    clean = run_of_three_stages(1)
    printed = capsys.readouterr().out
    for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv"):
        text = (folder / name).read_bytes().decode()
        text = "\ufeff\n" + text.replace("\n", "\n  \n\n").replace("\n", "\r\n")
        (folder / name).write_bytes(text.encode())
    assert run_of_three_stages(1) == clean
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "blank" not in line] == printed.splitlines()
    notes = [line for line in lines if "blank" in line]
    assert sum(line.startswith("wiki.txt: 9 blank lines") for line in notes) == 3
    assert sum(line.startswith("birth_dev.tsv: 7 blank lines") for line in notes) == 1


# ---- mistakes in a file ---------------------------------------------------------------------


BAD_CORPUS = [
    (b"\n  \n\t\n", ""),
    ("Ann.\n\n\nBob \u25a1.\n".encode(), "line 4"),
    (b"\xe9", "line 1"),
]
BAD_QUESTIONS = [
    (b"\n \n", ""),
    (b"Who?\tYork\n\nWho?\tYork\tUK\n", "line 3"),
    (b"\n\xe9", "line 2"),
]


@pytest.mark.parametrize(
    "command, name, raw, part",
    [(command, "wiki.txt", *bad) for command in (PRETRAIN, EVALUATE) for bad in BAD_CORPUS]
    + [(FINETUNE, "birth_places_train.tsv", *bad) for bad in BAD_QUESTIONS]
    + [(EVALUATE, "birth_dev.tsv", *bad) for bad in BAD_QUESTIONS]
    + [
        (FINETUNE, "birth_places_train.tsv", b"Where?\tX\n", "line 1"),  # not in the vocabulary
        (FINETUNE, "birth_places_train.tsv", b"Where?\n", "line 1"),
        (FINETUNE, "birth_places_train.tsv", b"Who?" + b" York" * 20 + b"\tHull\n", "line 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_line(
    folder, capsys, command, name, raw, part
):
    some_params()
    (folder / name).write_bytes(raw)
    refused(capsys, command, name, part)


ALL_BUT_QUICK = " or ".join(name for name in RECIPES if name != "quick")


@pytest.mark.parametrize(
    "flags, changed, parts",
    [
        ("", {"n_layer": 4}, ["--recipe quick"]),
        (" --recipe quick", {}, [f"--recipe {ALL_BUT_QUICK}"]),
        ("", {"n_embd": 16}, []),  # of no recipe
        ("", {"corpus": TINY_CORPUS + "XYZ"}, ["corpus"]),
        ("", {"n_layer": 4, "corpus": TINY_CORPUS + "XYZ"}, ["--recipe quick", "corpus"]),
        ("", {"variant": "synthesizer"}, ["synthesizer", "vanilla"]),
    ],
)
def test_parameters_of_another_model(untrained, capsys, monkeypatch, flags, changed, parts):
    """The line names what to give instead: a recipe, the corpus, both, or another variant."""
    monkeypatch.setitem(run.RECIPES, "quick", dataclasses.replace(SMALL, n_layer=4))
    some_params(**changed)
    for command in (FINETUNE_SOME, EVALUATE):
        line = refused(capsys, command + flags, "some.params", *parts)
        for hint in ("--recipe", "corpus"):
            assert (hint in line) == any(hint in part for part in parts)


# ---- what parameters belong to --------------------------------------------------------------


@pytest.fixture
def trained(capsys):
    """Parameters of both trainings with their PARAMS.json, as EVALUATE and FINETUNE read them."""
    call(PRETRAIN.replace("pretrain.params", "some.params"))
    capsys.readouterr()


def test_training_writes_what_its_parameters_belong_to(trained):
    from runs.checkpoint import digest
    from runs.resume import digest_of_code

    meta = json.loads(read_text("some.params.json"))
    dataset = CharCorruptionDataset(TINY_CORPUS, SMALL.block_size)
    characters = "".join(dataset.itos[i] for i in range(dataset.vocab_size))
    sizes = {"block_size": 48, "n_layer": 3, "n_head": 2, "n_embd": 8}
    assert meta == {
        "function": "pretrain",
        "variant": "vanilla",
        "recipe": "course",
        "sizes": {"vocab_size": dataset.vocab_size, **sizes},
        "vocabulary": digest(characters.encode()),
        "seed": 0,
        "code": digest_of_code(ROOT / "src"),
        "sha256": digest(content("some.params")),
    }


class Double(VARIANTS["vanilla"]):
    """A variant whose tensors have the same names and sizes as vanilla's."""


def another_variant(folder, monkeypatch):
    monkeypatch.setitem(VARIANTS, "double", Double)
    monkeypatch.setattr(GPTConfig, "double", False, raising=False)
    return lambda command: command.replace("vanilla", "double", 1)


def another_vocabulary(folder, monkeypatch):
    (folder / "wiki.txt").write_text(TINY_CORPUS.replace("wove", "woxe"), encoding="utf-8")
    return str


def another_n_head(folder, monkeypatch):
    monkeypatch.setitem(run.RECIPES, "quick", dataclasses.replace(SMALL, n_head=4))
    return lambda command: command + " --recipe quick"


@pytest.mark.parametrize(
    "change, parts",
    [
        (another_variant, ("vanilla", "double")),
        (another_vocabulary, ("vocabulary", "corpus")),
        (another_n_head, ("sizes",)),
    ],
)
@pytest.mark.parametrize("command", [FINETUNE_SOME, EVALUATE])
def test_parameters_that_fit_and_belong_elsewhere(
    trained, folder, monkeypatch, capsys, command, change, parts
):
    """Without PARAMS.json nobody can tell, and they load as before."""
    changed = change(folder, monkeypatch)(command)
    refused(capsys, changed, "some.params", *parts)
    os.remove("some.params.json")
    call(changed)


@pytest.mark.parametrize("raw", [b"", b"{}"])
def test_a_params_json_that_is_none_is_a_warning(trained, folder, capsys, raw):
    (folder / "some.params.json").write_bytes(raw)
    call(EVALUATE)
    error = capsys.readouterr().err
    assert error.startswith("warning: ") and "some.params.json" in error and error.count("\n") == 1


def test_the_params_json_of_other_parameters_is_a_note(trained, folder, monkeypatch, capsys):
    some_params()  # as if copied over the file
    another_vocabulary(folder, monkeypatch)
    call(EVALUATE)
    error = capsys.readouterr().err
    assert error.startswith("note: ") and "some.params.json" in error and error.count("\n") == 1


# ---- as a process ---------------------------------------------------------------------------


@pytest.mark.slow
def test_importing_run_runs_nothing(folder):
    before = files()
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import run"
    done = subprocess.run([sys.executable, "-c", program, "pretrain"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr, files()) == (0, b"", b"", before)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize("streams, code", [(">/dev/full", 2), ("2>/dev/full", 0), (">&- 2>&-", 0)])
def test_streams_that_are_full_or_closed(streams, code):
    """Standard output holds the result, and a full disk under it is one line."""
    program = f"{sys.executable} {ROOT}/src/run.py {PRETRAIN} --recipe quick --max_epochs 1"
    done = subprocess.run(f"{program} {streams}", shell=True, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == code and os.path.exists("pretrain.params") == (code == 0)
    if code:
        assert "standard output" in done.stderr.decode().splitlines()[-1]


@pytest.mark.slow
def test_in_an_ascii_locale_predictions_and_messages_are_utf8(folder):
    dataset = CharCorruptionDataset(TINY_CORPUS, QUICK.block_size)
    config = GPTConfig(dataset.vocab_size, QUICK.block_size, **QUICK.model_settings())
    torch.save(GPT(config).state_dict(), "some.params")
    question = "Where was Šid born?\tHull\n"
    (folder / "birth_dev.tsv").write_text(TINY_QUESTIONS + question, encoding="utf-8")
    ascii_only = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    words = [sys.executable, ROOT / "src" / "run.py", *shlex.split(EVALUATE), "--recipe", "quick"]
    done = subprocess.run(words, capture_output=True, env=os.environ | ascii_only, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Correct: \d\.0 out of 4\.0: ", done.stdout.decode("utf-8"), re.M)
    assert "'Š' (U+0160)" in done.stderr.decode("utf-8")
    assert read_text("out.predictions").count("\n") == 4


def test_parameters_that_are_only_pretrained_are_noted(capsys):
    call(PRETRAIN)
    os.rename("pretrain.params", "some.params")
    os.rename("pretrain.params.json", "some.params.json")
    capsys.readouterr()
    call(EVALUATE)
    assert "some.params is pretrained" in capsys.readouterr().err


def test_a_file_that_is_no_gpts_gets_no_advice(capsys):
    torch.save({"weight": torch.ones(2)}, "some.params")
    line = refused(capsys, EVALUATE, "some.params")
    assert "give" not in line
