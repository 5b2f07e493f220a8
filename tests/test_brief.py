"""python -m pytest tests/test_brief.py

The lines at the head of RESULTS.md against counting by plain loops over records made up here.
"""

import statistics

import pytest

import analysis
import brief
import pieces
from test_report import (LADDER_LABELS, LITTLE, MANY, MUCH, RECALLS, ROWS, SKILL, apart, change_table, figures, lifted, lower,
                         make_questions, page_of, pooled, probed, share, write_record)

HEADLINES = ("Pretraining raises", "It recalls", "It knows more", "The synthesizer", "Its probabilities are", "It answers about people")


def brief_of(folder):
    """{headline: its line}, of the page of a folder with records."""
    lines = brief.in_brief(analysis.load_runs(folder))
    text = page_of(folder)
    assert ("\n".join(lines) in text and text.index("## In brief") < text.index("## The numbers")) if lines else "In brief" not in text
    found = [line for line in lines if line.startswith("- ")]
    said = {headline: line for headline in HEADLINES for line in found if line.startswith(f"- **{headline}")}
    assert list(said.values()) == found and not any(word in line for line in found for word in ("nan", "None", "  "))
    return said


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("rows", [ROWS, ROWS[:2]])
def test_its_figures_are_those_of_the_records(tmp_path, seeds, rows):
    skill = {**RECALLS, ROWS[0]: 0.1, ROWS[2]: 0.25}
    written = [write_record(tmp_path / str(seed), seed=seed, count=MANY, rows=rows, skill=skill, knows=1) for seed in range(seeds)]
    said = brief_of(tmp_path)
    of = {row: pooled(written, row) for row in rows}
    n, answers = MANY * seeds, of[ROWS[1]]
    right = {row: share(sum(one["correct"] for one in of[row]), n) for row in rows}
    _, interval = analysis.accuracy_interval([[one["correct"] for one in record[ROWS[1]]["dev"]] for record in written])
    assert figures(said["Pretraining raises"].replace("–", " ")) == [
        str(MANY), right[ROWS[0]], str(seeds), right[ROWS[1]], str(seeds), "95%", *(f"{100 * bound:.1f}" + end for bound, end in zip(
            interval, ("", "%"))), *([right[ROWS[2]], str(seeds)] if rows == ROWS else []), share(1, MANY)]
    assert ("synthesizer" in said["Pretraining raises"]) == (rows == ROWS)
    assert said["Pretraining raises"].count("seeds)") == (seeds > 1) * len(rows)

    parts = {True: [], False: []}
    for one, question in zip(answers, make_questions(MANY, True) * seeds):
        parts[question["document"] == "early"].append(one["correct"])
    ladder = {rung: probed(written, ROWS[1], rung) for rung in (*LADDER_LABELS, "name")}
    assert figures(said["It recalls"]) == [
        share(*ladder["document"][:2]), *[share(*ladder["document_other_own"][:2])] * lower(ladder["document_other_own"], ladder["document"]),
        *(figure for early in (True, False) for figure in (share(sum(parts[early]), len(parts[early])), str(len(parts[early]))))]
    assert ("It knows more" in said) == lower(ladder["question"], ladder["document"])
    if "It knows more" in said:
        assert figures(said["It knows more"]) == [share(*ladder[rung][:2]) for rung in ("document", "question")]

    people = pooled(written, ROWS[1], "invented")
    assert figures(said["It answers about people"]) == [
        "30", str(len({one["prediction"] for one in people})), *(f"{apart(written, ROWS[1], correct, MANY):.2f}" for correct in (1, 0))]


def with_probabilities(path, probability_of):
    """Puts other probabilities into a table: probability_of(its row as a dict, number). Returns them."""
    rows = change_table(path, lambda row, number: row.update(probability=probability_of(row, number)))
    return [row["probability"] for row in rows]


def claimed_by(folder, probability_of, scale=1):
    """What is said of probabilities that are made up anew: probability_of(correct, number)."""
    written = write_record(folder / "a", count=MANY, skill={**SKILL, ROWS[0]: 0}, rows=ROWS[:2])[ROWS[1]]["dev"]
    probabilities = with_probabilities(folder / "a" / f"{ROWS[1]}.dev.answers.tsv",
                                       lambda one, number: scale * probability_of(int(one["correct"]), number))
    return brief_of(folder).get("Its probabilities are"), [(p, one["correct"]) for p, one in zip(probabilities, written)]


@pytest.mark.parametrize("name, probability_of, scale, claims", [
    ("too much", lambda correct, number: 0.7 + 0.1 * correct + 0.001 * number, 1, "informative but overconfident.**"),
    ("too little", lambda correct, number: 0.1 + 0.1 * correct + 0.001 * number, 1, "informative but underconfident.**"),
    ("as it is", lambda correct, number: 0.25 + 0.4 * correct + 0.001 * number, 1, "informative.**"),
    ("wrong ones among the surest", lambda correct, number: (0.95 if number % 7 == 0 else 0.7 + 0.1 * correct) + 0.0001 * number, 1,
     "informative but overconfident.**"),
    ("nothing above one half", lambda correct, number: 0.7 + 0.2 * correct + 0.001 * number, 0.4, "informative but underconfident.**"),
])
def test_of_its_probabilities_it_is_said_how_they_compare(tmp_path, name, probability_of, scale, claims):
    line, pairs = claimed_by(tmp_path, probability_of, scale)
    assert claims in line and ("½" in line) == (name not in ("too little", "nothing above one half"))
    surest = [correct for _, correct in sorted(pairs, reverse=True)[:MANY // 20]]
    above = [correct for probability, correct in pairs if probability > 0.5]
    low, high = analysis.wilson(statistics.fmean(surest), len(surest))
    assert figures(line.replace("–", " ")) == [
        str(len(surest)), share(sum(surest), len(surest)), "95%", f"{100 * low:.1f}", f"{100 * high:.1f}%",
        share(sum(correct for _, correct in pairs), MANY), f"{100 * statistics.fmean(probability for probability, _ in pairs):.1f}%",
        *([str(len(above)), share(len(above) - sum(above), len(above))] if above else [])]


def test_probabilities_that_tell_nothing_are_not_spoken_of(tmp_path):
    assert claimed_by(tmp_path / "same", lambda correct, number: 0.3)[0] is None
    assert claimed_by(tmp_path / "random", lambda correct, number: (number * 37 % 101) / 101)[0] is None
    assert claimed_by(tmp_path / "turned", lambda correct, number: 0.9 - 0.5 * correct)[0] is None


def test_the_synthesizer_is_said_to_lack_access_only_if_it_knows_as_much_and_answers_less(tmp_path):
    seen = set()
    for number, (knows, skill) in enumerate([(MUCH, 0.15), (LITTLE, 0.15), (MUCH, 0.6), (None, 0.15)]):
        folder, written = tmp_path / str(number), {}
        for row, settings in ((ROWS[0], {}), (ROWS[1], dict(knows=LITTLE)), (ROWS[2], dict(knows=knows))):
            written |= write_record(folder / row, count=400, rows=[row], skill={ROWS[0]: 0, ROWS[1]: 0.45, ROWS[2]: skill}, **settings)
        line = brief_of(folder).get("The synthesizer")
        if knows is None:
            assert line is None
            continue
        name, question = ([probed([written], row, rung) for row in ROWS[1:]] for rung in ("name", "question"))
        assert (line is not None) == (not lower(name[1], name[0]) and lower(question[1], question[0]))
        assert line is None or figures(line) == [share(*one[:2]) for pair in (name, question) for one in reversed(pair)]
        seen.add(line is not None)
    assert seen == {True, False}


def test_what_was_not_measured_or_cannot_be_shown_is_left_out(tmp_path):
    settings = dict(count=MANY, rows=ROWS[:2])
    write_record(tmp_path / "unknown" / "a", knows=None, asked=0, skill={**SKILL, ROWS[0]: 0, ROWS[1]: 0.5}, **settings)
    assert not {"It recalls", "It knows more", "It answers about people"} & set(brief_of(tmp_path / "unknown"))
    write_record(tmp_path / "alike" / "a", skill={ROWS[0]: 0, ROWS[1]: 0.4}, knows=(0.3, 0.3, 0.3, 0.3, 0.3, 0.3), **settings)
    assert not {"It recalls", "It knows more"} & set(brief_of(tmp_path / "alike"))
    write_record(tmp_path / "turned" / "a", skill={ROWS[0]: 0, ROWS[1]: [0.2] * 4 + [0.9] * 3}, **settings)
    assert len(figures(brief_of(tmp_path / "turned")["It recalls"])) == 2  # of the document alone
    write_record(tmp_path / "unread" / "a", skill={**RECALLS, ROWS[0]: 0}, knows=None, **settings)
    assert len(figures(brief_of(tmp_path / "unread")["It recalls"])) == 4  # of the split alone


@pytest.mark.parametrize("right, wrong, words", [
    (0.9, 0.5, ("less probable than its right answers", "as probable as its wrong ones")),
    (0.5, 0.1, ("as probable as its right answers", "more probable than its wrong ones")),
    (0.1, 0.9, ("more probable than its right answers", "less probable than its wrong ones"))])
def test_answers_about_strangers_are_compared_with_right_and_wrong_ones(tmp_path, right, wrong, words):
    write_record(tmp_path / "a", count=MANY, rows=ROWS[:2], skill={ROWS[0]: 0, ROWS[1]: 0.5})
    with_probabilities(tmp_path / "a" / f"{ROWS[1]}.invented.scores.tsv", lambda one, number: 0.5 + 0.01 * (number % 2 - 0.5))
    with_probabilities(tmp_path / "a" / f"{ROWS[1]}.dev.answers.tsv",
                       lambda one, number: (right if one["correct"] == "1" else wrong) + 0.01 * (number % 2 - 0.5))
    line = brief_of(tmp_path)["It answers about people"]
    assert all(part in line for part in words)


@pytest.mark.parametrize("skill", [0.1, 0.2, 0.3, 0.9])
def test_it_is_there_if_and_only_if_there_is_a_lift(tmp_path, skill):
    written = write_record(tmp_path / "a", count=MANY, rows=ROWS[:2], skill={ROWS[0]: 0.15, ROWS[1]: skill})
    assert bool(brief_of(tmp_path)) == lifted([written])


def test_it_is_of_the_first_data_that_show_the_lift(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False, rows=ROWS[:1], count=MANY)
    write_record(tmp_path / "b", data="quick", count=MANY)
    by_data = analysis.load_runs(tmp_path)
    text = "\n".join(brief.in_brief({data: by_data[data] for data in ("course", "quick")}))
    assert pieces.name_of("quick") in text and pieces.name_of("course") not in text
