"""python -m pytest tests/test_brief.py

The lines at the head of RESULTS.md against counting by plain loops over records made up here.
"""

import statistics

import pytest

import analysis
import brief
import part3
import report
from test_report import (LADDER_LABELS, MANY, RECALLS, ROWS, SKILL, figures, lifted, lower, make_questions, page_of, pooled, probed, share,
                         write_record)

HEADLINES = ("Reading lifts", "It recalls", "It knows more", "Its probabilities tell", "It answers about people")


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
    skill = {**RECALLS, ROWS[0]: 0, ROWS[2]: 0.25}
    written = [write_record(tmp_path / str(seed), seed=seed, count=MANY, rows=rows, skill=skill, knows=1) for seed in range(seeds)]
    said = brief_of(tmp_path)
    of = {row: pooled(written, row) for row in rows}
    n, answers = MANY * seeds, of[ROWS[1]]
    right = {row: share(sum(one["correct"] for one in of[row]), n) for row in rows}
    assert figures(said["Reading lifts"]) == [
        str(MANY), *(figure for row in rows for figure in (right[row], str(seeds))), share(1, MANY)]
    assert ("synthesizer" in said["Reading lifts"]) == (rows == ROWS) and said["Reading lifts"].count("seeds)") == (seeds > 1) * len(rows)

    parts = {True: [], False: []}
    for one, question in zip(answers, make_questions(MANY, True) * seeds):
        parts[question["document"] == "early"].append(one["correct"])
    assert figures(said["It recalls"]) == [share(sum(parts[early]), len(parts[early])) for early in (True, False)]

    ladder = [probed(written, ROWS[1], rung) for rung in LADDER_LABELS]
    document, question = (ladder[LADDER_LABELS.index(rung)] for rung in ("document", "question"))
    assert ("It knows more" in said) == lower(question, document)
    if "It knows more" in said:
        assert figures(said["It knows more"]) == [share(*document[:2]), share(*question[:2])]

    asked = pooled(written, ROWS[1], "invented")
    assert figures(said["It answers about people"]) == ["30", str(len({one["prediction"] for one in asked}))]


def claimed_by(folder, probability_of, scale=1):
    """What is said of probabilities that are made up anew: probability_of(correct, number)."""
    written = write_record(folder / "a", count=MANY, skill={**SKILL, ROWS[0]: 0}, rows=ROWS[:2])[ROWS[1]]["dev"]
    path = folder / "a" / f"{ROWS[1]}.dev.answers.tsv"
    head, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = []
    for number, (line, one) in enumerate(zip(lines, written)):
        pairs.append((scale * probability_of(one["correct"], number), one["correct"]))
        line[head.index("probability")] = str(pairs[-1][0])
    path.write_text("".join("\t".join(line) + "\n" for line in [head, *lines]), encoding="utf-8")
    return brief_of(folder).get("Its probabilities tell"), pairs


@pytest.mark.parametrize("name, probability_of, scale, claims", [
    ("too much", lambda correct, number: 0.7 + 0.1 * correct + 0.001 * number, 1, ", but claim too much.**"),
    ("too little", lambda correct, number: 0.1 + 0.1 * correct + 0.001 * number, 1, ", but claim too little.**"),
    ("as it is", lambda correct, number: 0.25 + 0.4 * correct + 0.001 * number, 1, "something.**"),
    ("wrong ones among the surest", lambda correct, number: (0.95 if number % 7 == 0 else 0.7 + 0.1 * correct) + 0.0001 * number, 1,
     ", but claim too much.**"),
    ("nothing above one half", lambda correct, number: 0.7 + 0.2 * correct + 0.001 * number, 0.4, ", but claim too little.**"),
])
def test_of_its_probabilities_it_is_said_how_they_compare(tmp_path, name, probability_of, scale, claims):
    line, pairs = claimed_by(tmp_path, probability_of, scale)
    assert claims in line and ("½" in line) == (name not in ("too little", "nothing above one half"))
    surest = sorted(pairs, reverse=True)[:MANY // 20]
    above = [correct for probability, correct in pairs if probability > 0.5]
    assert figures(line) == [
        share(sum(correct for _, correct in surest), len(surest)), share(sum(correct for _, correct in pairs), MANY),
        f"{100 * statistics.fmean(probability for probability, _ in pairs):.1f}%",
        *([share(len(above) - sum(above), len(above))] if above else [])]


def test_probabilities_that_tell_nothing_are_not_spoken_of(tmp_path):
    assert claimed_by(tmp_path / "same", lambda correct, number: 0.3)[0] is None
    assert claimed_by(tmp_path / "random", lambda correct, number: (number * 37 % 101) / 101)[0] is None
    assert claimed_by(tmp_path / "turned", lambda correct, number: 0.9 - 0.5 * correct)[0] is None


def test_what_was_not_measured_or_cannot_be_shown_is_left_out(tmp_path):
    settings = dict(count=MANY, rows=ROWS[:2])
    write_record(tmp_path / "unknown" / "a", knows=None, asked=0, skill={**SKILL, ROWS[0]: 0, ROWS[1]: 0.5}, **settings)
    assert not {"It knows more", "It answers about people"} & set(brief_of(tmp_path / "unknown"))
    write_record(tmp_path / "no control" / "a", asked={ROWS[0]: 0, ROWS[1]: 30}, **settings)
    assert "It answers about people" not in brief_of(tmp_path / "no control")
    write_record(tmp_path / "alike" / "a", skill={ROWS[0]: 0, ROWS[1]: 0.4}, knows=0.3, **settings)
    assert not {"It recalls", "It knows more"} & set(brief_of(tmp_path / "alike"))
    write_record(tmp_path / "turned" / "a", skill={ROWS[0]: 0, ROWS[1]: [0.2] * 4 + [0.9] * 3}, **settings)
    assert "It recalls" not in brief_of(tmp_path / "turned")


def test_strangers_are_told_in_part_where_the_pretrained_rows_answers_are_far_above_the_controls(tmp_path):
    said = set()
    for number, (rows, apart) in enumerate([((), False), (ROWS[1:2], True), (ROWS[:1], False), (ROWS[:2], False)]):
        folder = tmp_path / str(number) / "a"
        write_record(folder, count=MANY, rows=ROWS[:2], skill={ROWS[0]: 0, ROWS[1]: 0.5})
        for row in rows:  # every answer about a stranger is less probable than any other
            path = folder / f"{row}.invented.scores.tsv"
            head, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
            for line in lines:
                line[head.index("probability")] = "-1"
            path.write_text("".join("\t".join(line) + "\n" for line in [head, *lines]), encoding="utf-8")
        line = brief_of(folder.parent)["It answers about people"]
        assert ("tells in part" in line) == apart and ("hardly tells" in line) == (not apart)
        essay = "\n".join(part3.essay(analysis.load_runs(folder.parent)))
        assert ("tells it in part" in essay) == apart and ("hardly tells it" in essay) == (not apart)
        said.add(apart)
    assert said == {True, False}


@pytest.mark.parametrize("skill", [0.1, 0.2, 0.3, 0.9])
def test_it_is_there_if_and_only_if_there_is_a_lift(tmp_path, skill):
    written = write_record(tmp_path / "a", count=MANY, rows=ROWS[:2], skill={ROWS[0]: 0.15, ROWS[1]: skill})
    assert bool(brief_of(tmp_path)) == lifted([written])


def test_it_is_of_the_first_data_that_show_the_lift(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False, rows=ROWS[:1], count=MANY)
    write_record(tmp_path / "b", data="quick", count=MANY)
    by_data = analysis.load_runs(tmp_path)
    text = "\n".join(brief.in_brief({data: by_data[data] for data in ("course", "quick")}))
    assert report.name_of("quick") in text and report.name_of("course") not in text
