"""python -m pytest tests/test_scripts.py

The scripts at the project's root. run_all.sh and run_tests.sh run in a copy of the project, whose Python is a fake that
notes what it is asked to do and writes the files it is told to: nothing is trained, nothing is installed.
"""

import fcntl
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from conftest import ROOT

COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"
NAMES = ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv")
SCRIPTS = ["run_all.sh", "run_tests.sh", "tools/python_env.sh"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


def script(path, *lines):
    """Writes an executable shell script; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_bash(name):
    done = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["run_all.sh", "run_tests.sh"])
def test_the_scripts_at_the_root_are_executable(name):
    assert os.access(ROOT / name, os.X_OK)


# ---- london_baseline.py ---------------------------------------------------------------------------------------------

@pytest.fixture
def london(monkeypatch, capsys):
    """london(*arguments) → (exit code, standard output, standard error)."""
    spec = importlib.util.spec_from_file_location("london_baseline", ROOT / "london_baseline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["london_baseline.py", *map(str, arguments)])
        code = 0
        try:
            module.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return call


def test_london_on_a_few_questions(london, tmp_path, monkeypatch):
    path = tmp_path / "births.tsv"
    path.write_text("Where was A born?\tLondon\n\nWhere was B born?\tLondon, Ontario\nWhere was C born?\tYork\n"
                    "Where was D born?\tlondon\nWhere was E born?\tLondon\n", encoding="utf-8")
    assert london("--eval_corpus_path", path) == (0, "Correct: 2.0 out of 5.0: 40.0%\n", "")
    path.rename(tmp_path / "birth_dev.tsv")
    monkeypatch.chdir(tmp_path)
    assert london() == (0, "Correct: 2.0 out of 5.0: 40.0%\n", "")  # the default


def test_london_without_places(london, tmp_path):
    path = tmp_path / "inputs.tsv"
    path.write_text("Where was A born?\n", encoding="utf-8")
    assert london("--eval_corpus_path", path) == (0, "No gold birth places provided; returning (0,0)\n", "")


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="the course's files are not here")
def test_london_on_the_courses_questions(london):
    assert london("--eval_corpus_path", COURSE_FILES / "birth_dev.tsv") == (0, "Correct: 25.0 out of 500.0: 5.0%\n", "")


@pytest.mark.parametrize("content, message", [
    (None, "cannot be read: "), (b"", "no question in it"), (b"Where?\tA\tB\n", "line 1: 2 tabs"),
    (b"Where?\tA\nWhen?\n", "line 2: no place"), (b"Where?\t\xff\n", "line 1: byte 0xff is not UTF-8"),
])
def test_londons_errors_are_one_line(london, tmp_path, content, message):
    path = tmp_path / "births.tsv"
    if content is not None:
        path.write_bytes(content)
    code, out, err = london("--eval_corpus_path", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"london_baseline.py: error: {path}: {message}") and err.count("\n") == 1


def test_london_as_a_process(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "london_baseline.py")], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "london_baseline.py: error: birth_dev.tsv: cannot be read: No such file or directory\n"


# ---- run_all.sh -----------------------------------------------------------------------------------------------------

# Notes its arguments, one call a line; fails where they contain $FAIL_AT; writes the files that the real one would.
FAKE_PYTHON = r"""
[ "$1" = -c ] && exit 0
[ "$1" = tools/machine.py ] && echo '{"hardware": "a fake"}' && exit 0
echo "$@" >> "$CALLS"
if [ -n "$FAIL_AT" ]; then case "$*" in *"$FAIL_AT"*) echo half of it; echo "cannot go on" >&2; exit 3 ;; esac; fi
echo "output of $1"
while [ $# -gt 0 ]; do
    case $1 in
        --writing_params_path | --outputs_path | --scores_path | --unseen) echo written > "$2" ;;
        --size)
            mkdir -p "$4"
            for name in wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv; do echo "$name" > "$4/$name"; done ;;
    esac
    shift
done
""".strip("\n")


class Project:
    """A copy of what run_all.sh needs, in a folder whose name has a space, with a fake Python beside it."""

    def __init__(self, folder):
        self.folder, self.root, self.calls = folder, folder / "my project", folder / "calls"
        (self.root / "tools").mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(ROOT / name, self.root / name)
        self.data(self.root)
        self.python = script(folder / "fake python" / "python", FAKE_PYTHON)

    @staticmethod
    def data(folder, text=""):
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (folder / name).write_text(name + text, encoding="utf-8")
        return folder

    def run(self, *arguments, cwd=None, fail_at="", name="run_all.sh", **environment):
        """The finished process, with `calls` (the fake Python's argument lines) and `words` (them, shortened)."""
        self.calls.write_text("", encoding="utf-8")
        env = {**os.environ, "PYTHON": str(self.python), "CALLS": str(self.calls), "FAIL_AT": fail_at, **environment}
        done = subprocess.run(["bash", str(self.root / name), *map(str, arguments)], cwd=cwd or self.root, env=env,
                              capture_output=True, text=True, timeout=60)
        done.calls = self.calls.read_text(encoding="utf-8").splitlines()
        return done

    def files(self):
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def expected_calls(data, out, root, recipe="course", seed=0, rows=("nopretrain", "vanilla", "synthesizer")):
    """What the stages ask Python for, in the handout's order."""
    def run(function, variant, *flags):
        return " ".join(["src/run.py", function, variant, f"{data}/wiki.txt", "--recipe", recipe, "--seed", str(seed), *flags])

    def ask(label, variant, params):
        return [run("evaluate", variant, "--reading_params_path", f"{out}/{params}", "--eval_corpus_path", questions,
                    "--outputs_path", f"{out}/{label}.{kind}.predictions", "--scores_path", f"{out}/{label}.{kind}.scores.tsv", *flags)
                for kind, questions, *flags in (("dev", f"{data}/birth_dev.tsv"), ("test", f"{data}/birth_test_inputs.tsv"),
                                                ("beam", f"{data}/birth_dev.tsv", "--beam", "8"), ("invented", f"{out}/invented.tsv"))]

    calls = [f"{root}/src/dataset.py namedata", f"{root}/src/dataset.py charcorruption",
             f"tools/make_corpus.py --unseen {out}/invented.tsv --wiki {data}/wiki.txt"]
    if "nopretrain" in rows:
        calls += [run("finetune", "vanilla", "--writing_params_path", f"{out}/vanilla.model.params", "--finetune_corpus_path",
                      f"{data}/birth_places_train.tsv"),
                  *ask("vanilla.nopretrain", "vanilla", "vanilla.model.params")]
    for variant in rows[rows[0] == "nopretrain":]:
        calls += [run("pretrain", variant, "--writing_params_path", f"{out}/{variant}.pretrain.params"),
                  run("finetune", variant, "--writing_params_path", f"{out}/{variant}.finetune.params", "--finetune_corpus_path",
                      f"{data}/birth_places_train.tsv", "--reading_params_path", f"{out}/{variant}.pretrain.params"),
                  *ask(f"{variant}.pretrain", variant, f"{variant}.finetune.params"),
                  " ".join(["tools/recall.py", variant, f"{data}/wiki.txt", "--recipe", recipe,
                            "--pretrained_params_path", f"{out}/{variant}.pretrain.params",
                            "--finetuned_params_path", f"{out}/{variant}.finetune.params",
                            "--eval_corpus_path", f"{data}/birth_dev.tsv", "--outputs_path", f"{out}/{variant}.pretrain.recall.tsv"])]
    return calls + [f"london_baseline.py --eval_corpus_path {data}/birth_dev.tsv",
                    f"tools/record.py --data {data} --run {out} --recipe {recipe} --seed {seed} --to {out}/record",
                    f"tools/report.py --records {out}/record --to {out}"]


KINDS = ("dev", "test", "beam", "invented")
ROWS = ("vanilla.nopretrain", "vanilla.pretrain", "synthesizer.pretrain")
STAGES = ["namedata", "charcorruption", "invented",
          *(stage for row in ROWS for stage in [*[row] * row.endswith(".pretrain"), f"{row}.finetune", *(f"{row}.{kind}" for kind in KINDS),
                                                *[f"{row}.recall"] * row.endswith(".pretrain")]),
          "london"]
AFTER = 2  # calls after the stages: the record and the report
PREDICTIONS = [f"{row}.{kind}.predictions" for row in ROWS for kind in KINDS]


def test_the_stages_follow_the_handout(project):
    """The bundled files, and the default folder for results."""
    done = project.run()
    out = project.root / "out" / "bundled-seed0"
    assert done.returncode == 0 and done.stderr == ""
    assert done.calls == expected_calls(project.root, out, project.root)
    assert [line[3:] for line in done.stdout.splitlines() if line.startswith("== ") and ":" not in line] == STAGES
    assert sorted(path.name for path in out.glob("*.predictions")) == sorted(PREDICTIONS)
    assert sorted(path.name for path in (out / "logs").iterdir()) == sorted(f"{stage}.log" for stage in STAGES)
    assert sorted(path.name for path in (out / "stages").iterdir()) == sorted(f"{stage}.{kind}" for stage in STAGES
                                                                              for kind in ("command", "machines", "seconds"))
    assert (out / "logs" / "london.log").read_text(encoding="utf-8") == "output of london_baseline.py\n"
    assert all(path.read_text(encoding="utf-8").strip().isdigit() for path in (out / "stages").glob("*.seconds"))


def test_each_stage_keeps_its_command_and_its_machine(project):
    out = project.folder / "out"
    project.run("--out", out)
    words = (out / "stages" / "vanilla.pretrain.command").read_text(encoding="utf-8").splitlines()
    assert words == [str(project.python), "src/run.py", "pretrain", "vanilla", f"{project.root}/wiki.txt", "--recipe", "course", "--seed", "0",
                     "--writing_params_path", f"{out}/vanilla.pretrain.params"]
    assert (out / "stages" / "vanilla.pretrain.machines").read_text(encoding="utf-8") == '{"hardware": "a fake"}\n'


def test_a_stage_of_several_attempts_keeps_all_their_machines(project):
    """One that is complete and made anew keeps the last alone."""
    out = project.folder / "out"
    project.run("--out", out, fail_at="pretrain vanilla")
    path = out / "stages" / "vanilla.pretrain.machines"
    path.write_text(path.read_text(encoding="utf-8").replace("a fake", "another"), encoding="utf-8")
    project.run("--out", out)
    assert path.read_text(encoding="utf-8") == '{"hardware": "another"}\n{"hardware": "a fake"}\n'
    (out / "vanilla.pretrain.params").unlink()
    project.run("--out", out)
    assert path.read_text(encoding="utf-8") == '{"hardware": "a fake"}\n'


def test_predictions_without_their_probabilities_are_made_anew(project):
    """As from a folder that an earlier version has left."""
    out = project.folder / "out"
    project.run("--out", out)
    (out / "vanilla.pretrain.dev.scores.tsv").unlink()
    assert "--scores_path" in project.run("--out", out).calls[0] and (out / "vanilla.pretrain.dev.scores.tsv").exists()


def test_what_is_known_is_measured_of_pretrained_rows_alone_and_anew_where_it_is_gone(project):
    out = project.folder / "out"
    project.run("--out", out)
    assert sorted(path.name for path in out.glob("*.recall.tsv")) == ["synthesizer.pretrain.recall.tsv", "vanilla.pretrain.recall.tsv"]
    (out / "vanilla.pretrain.recall.tsv").unlink()
    first, *others = project.run("--out", out).calls
    assert first.startswith("tools/recall.py vanilla ") and len(others) == AFTER and (out / "vanilla.pretrain.recall.tsv").exists()


def test_a_corpus_that_cannot_spell_invented_names_is_not_asked_about_them(project):
    out = project.folder / "out"
    python = script(project.folder / "spells nothing" / "python",
                    'case "$*" in *--unseen*) echo "$@" >> "$CALLS"; : > "$3"; exit 0 ;; esac', f'exec "{project.python}" "$@"')
    done = project.run("--out", out, PYTHON=python)
    assert done.returncode == 0 and not any("invented.tsv" in call for call in done.calls[3:])


def test_one_variant_alone_and_the_other_after_it(project):
    out = project.folder / "out"
    done = project.run("--out", out, "--variant", "synthesizer")
    assert done.returncode == 0 and done.calls == expected_calls(project.root, out, project.root, rows=("synthesizer",))
    done = project.run("--out", out, "--variant", "vanilla")
    assert done.returncode == 0
    assert done.calls == [call for call in expected_calls(project.root, out, project.root, rows=("nopretrain", "vanilla"))
                          if not any(word in call for word in ("dataset.py", "make_corpus", "london"))]
    assert len(project.run("--out", out).calls) == AFTER


def test_the_quick_run_makes_its_corpus(project):
    done = project.run("--quick", "--seed", "7")
    out = project.root / "out" / "quick-seed7"
    assert done.returncode == 0
    assert done.calls == [f"tools/make_corpus.py --size quick --out {out}/corpus",
                          *expected_calls(out / "corpus", out, project.root, "quick", 7)]


def test_relative_paths_are_the_callers(project):
    """With spaces in them, from a folder elsewhere."""
    elsewhere = project.folder / "else where"
    data = project.data(elsewhere / "my data")
    done = project.run("--data", "my data", "--out", "my runs/one", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.calls == expected_calls(data, elsewhere / "my runs" / "one", project.root)
    assert (elsewhere / "my runs" / "one" / "vanilla.pretrain.dev.predictions").exists()
    assert not (project.root / "out").exists()


def test_the_default_folder_is_named_after_the_data(project):
    project.data(project.folder / "course files")
    done = project.run("--data", project.folder / "course files", "--seed", "3")
    assert done.returncode == 0 and (project.root / "out" / "course files-seed3" / "vanilla.model.params").exists()


def test_a_relative_python_works(project):
    """As in PYTHON=../venv/bin/python ./run_all.sh; the examples are printed from the data's folder."""
    done = project.run("--data", project.data(project.folder / "some" / "data"), PYTHON="../fake python/python")
    assert done.returncode == 0, done.stderr
    assert len(done.calls) == len(STAGES) + AFTER


def test_a_python_on_the_path_works(project):
    done = project.run("--out", project.folder / "out", PYTHON="python",
                       PATH=f"{project.python.parent}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0 and len(done.calls) == len(STAGES) + AFTER


def test_the_examples_are_of_the_data_given(project):
    """dataset.py reads the current folder's files."""
    data = project.data(project.folder / "data")
    where = script(project.folder / "where" / "python", '[ "$1" = -c ] || case $1 in *dataset.py) echo "$2 in $PWD" ;; esac',
                   f'exec "{project.python}" "$@"')
    done = project.run("--data", data, PYTHON=where)
    assert f"namedata in {data}\n" in done.stdout and f"charcorruption in {data}\n" in done.stdout


def test_complete_stages_are_not_run_again(project):
    out = project.folder / "out"
    first = project.run("--out", out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.p*")}
    again = project.run("--out", out)
    assert again.returncode == 0 and again.calls == first.calls[-AFTER:]  # the record and the report alone
    assert again.stdout.count("complete (") == len(STAGES)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.p*")} == times


def test_one_folder_holds_one_run_at_a_time(project):
    out = project.folder / "out"
    out.mkdir()
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = project.run("--out", out)
    assert done.returncode == 2 and done.calls == []
    assert done.stderr == (f"run_all.sh: error: another run_all.sh, or a training that one has left behind, is at work in {out}\n")
    assert project.run("--out", out).returncode == 0


@pytest.mark.parametrize("code, said, expected", [(130, "was stopped", 130), (143, "was stopped", 143), (2, "failed", 1)])
def test_a_stage_that_is_stopped_says_so_and_its_time_counts(project, code, said, expected):
    """The Python sleeps more than a second before it ends with that code, the first time it pretrains."""
    out = project.folder / "out"
    once = project.folder / "once"
    python = script(project.folder / "stopping" / "python",
                    f'case "$*" in *"pretrain vanilla"*) if [ ! -e "{once}" ]; then touch "{once}"; sleep 1.2; exit {code}; fi ;; esac',
                    f'exec "{project.python}" "$@"')
    done = project.run("--out", out, PYTHON=python)
    assert done.returncode == expected
    assert done.stderr == f"run_all.sh: stage vanilla.pretrain {said}; the same command continues here\n"
    again = project.run("--out", out, PYTHON=python)
    assert again.returncode == 0 and "== vanilla.nopretrain.finetune: complete (" in again.stdout
    assert int((out / "stages" / "vanilla.pretrain.seconds").read_text()) >= 1
    assert list(out.rglob("*.part")) == []


def test_a_stage_outlives_its_script_and_is_complete_all_the_same(project):
    """SIGTERM to the script alone: what it has started goes on, keeps others away, and need not be done again."""
    out, started = project.folder / "out", project.folder / "started"
    python = script(project.folder / "slow" / "python",
                    f'case "$*" in *"pretrain vanilla"*) touch "{started}"; sleep 2 ;; esac', f'exec "{project.python}" "$@"')
    environment = {**os.environ, "PYTHON": str(python), "CALLS": str(project.calls)}
    process = subprocess.Popen(["bash", project.root / "run_all.sh", "--out", out], cwd=project.root, env=environment,
                               stdout=subprocess.DEVNULL)
    while not started.exists():
        time.sleep(0.01)
    process.terminate()
    process.wait()
    done = project.run("--out", out)
    assert done.returncode == 2 and "or a training that one has left behind, is at work in" in done.stderr
    while not (out / "stages" / "vanilla.pretrain.seconds").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    done = project.run("--out", out)
    assert done.returncode == 0 and "== vanilla.pretrain: complete (2 s), not run again" in done.stdout.replace("(3 s)", "(2 s)")
    assert not any("pretrain vanilla" in call for call in done.calls)
    assert (out / "logs" / "vanilla.pretrain.log").exists() and list(out.rglob("*.part")) == []


def test_a_script_that_died_as_it_noted_its_settings_does_not_stand_in_the_way(project):
    out = project.folder / "out"
    out.mkdir()
    (out / "settings").write_text("")
    assert project.run("--out", out).returncode == 0 and (out / "settings").read_text().startswith("recipe=course seed=0 data=")


def test_a_stage_whose_output_is_gone_is_run_again(project):
    out = project.folder / "out"
    project.run("--out", out)
    (out / "vanilla.pretrain.dev.predictions").unlink()
    done = project.run("--out", out)
    assert len(done.calls) == 1 + AFTER and "--outputs_path" in done.calls[0] and "vanilla.pretrain.dev" in done.calls[0]


@pytest.mark.parametrize("stage, fail_at", [
    ("vanilla.pretrain.finetune", "vanilla.finetune.params --finetune"), ("charcorruption", "charcorruption"),
    ("synthesizer.pretrain.test", "synthesizer.pretrain.test.predictions"), ("london", "london_baseline.py")])
def test_a_failed_stage_stops_and_is_continued(project, stage, fail_at):
    out, place = project.folder / "out", STAGES.index(stage)
    failed = project.run("--out", out, fail_at=fail_at)
    assert failed.returncode == 1 and len(failed.calls) == place + 1
    assert failed.stderr == f"cannot go on\nrun_all.sh: stage {stage} failed; the same command continues here\n"
    assert not (out / "stages" / f"{stage}.seconds").exists() and not (out / "logs" / f"{stage}.log").exists()
    continued = project.run("--out", out)
    assert continued.returncode == 0
    assert continued.calls == expected_calls(project.root, out, project.root)[place:]
    assert (out / "logs" / f"{stage}.log").read_text(encoding="utf-8").startswith("output of ")


def test_an_output_of_a_failed_stage_does_not_make_it_complete(project):
    out = project.folder / "out"
    project.run("--out", out, fail_at="--outputs_path")
    (out / "vanilla.nopretrain.dev.predictions").write_text("half of it", encoding="utf-8")
    done = project.run("--out", out)
    assert "vanilla.nopretrain.dev.predictions" in done.calls[0]


def test_a_failed_corpus_stops(project):
    done = project.run("--quick", fail_at="make_corpus")
    assert done.returncode == 1 and len(done.calls) == 1 and "stage corpus failed" in done.stderr


@pytest.mark.parametrize("tool, calls", [("record.py", 1), ("report.py", 2)])
def test_a_failed_record_or_report_is_no_success(project, tool, calls):
    done = project.run(fail_at=tool)
    assert done.returncode != 0 and len(done.calls) == len(STAGES) + calls


def usage_error(done, *parts):
    assert done.returncode == 2 and done.calls == [], done
    assert done.stderr.startswith("run_all.sh: error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_another_seed_or_other_files_into_the_same_folder_are_refused(project):
    out = project.folder / "out"
    assert project.run("--out", out, "--seed", "1").returncode == 0
    usage_error(project.run("--out", out, "--seed", "2"), "seed=1", "seed=2", "choose another --out")
    usage_error(project.run("--out", out, "--seed", "1", "--data", project.data(project.folder / "other", " changed")),
                "choose another --out")
    assert project.run("--out", out, "--seed", "1", "--data", project.data(project.folder / "same")).returncode == 0


def test_another_recipe_into_the_same_folder_is_refused(project):
    out = project.folder / "out"
    assert project.run("--out", out).returncode == 0
    done = project.run("--out", out, "--quick")
    assert done.returncode == 2 and not any("src/run.py" in call for call in done.calls)
    assert "choose another --out" in done.stderr


def test_help_comes_from_the_script(project):
    for flag in ("-h", "--help"):
        before = project.files()
        done = project.run(flag)
        assert (done.returncode, done.stderr, done.calls) == (0, "", [])
        assert all(f"./run_all.sh {option}" in done.stdout for option in ("--quick", "--data DIR", "--out DIR", "--seed N", "--variant NAME"))
        assert "#" not in done.stdout and "set -" not in done.stdout
        assert project.files() - before == {"calls"} - before


@pytest.mark.parametrize("arguments, part", [
    (["--fast"], "unknown argument '--fast'"), (["here"], "unknown argument 'here'"), (["--data=x"], "unknown argument"),
    ([""], "unknown argument ''"),
    (["--data"], "--data needs a value"), (["--out"], "--out needs a value"), (["--quick", "--seed"], "--seed needs a value"),
    (["--seed", ""], "--seed needs a value"), (["--seed", "-1"], "--seed is '-1'"), (["--seed", "1.5"], "--seed is '1.5'"),
    (["--seed", "one"], "--seed is 'one'"), (["--variant"], "--variant needs a value"), (["--variant", "both"], "--variant is 'both'"), (["--quick", "--data", "x"], "--quick makes its own small corpus"),
])
def test_a_wrong_call_of_run_all(project, arguments, part):
    before = project.files()
    usage_error(project.run(*arguments), part)
    assert project.files() - before == {"calls"}  # nothing is made


@pytest.mark.parametrize("missing", NAMES)
def test_data_that_is_not_there(project, missing):
    data = project.data(project.folder / "data")
    (data / missing).unlink()
    usage_error(project.run("--data", data, "--out", project.folder / "out"), f"{data}/{missing} is missing")


def test_a_data_folder_that_is_not_there(project):
    usage_error(project.run("--data", "nowhere", "--out", project.folder / "out"), "nowhere/wiki.txt is missing")


def test_a_folder_for_results_that_cannot_be_made(project):
    (project.folder / "file").write_text("", encoding="utf-8")
    usage_error(project.run("--out", project.folder / "file" / "out"), "cannot be made")


# ---- run_tests.sh and tools/python_env.sh ---------------------------------------------------------------------------

def test_run_tests_gives_its_arguments_to_pytest(project):
    done = project.run(name="run_tests.sh", cwd=project.folder)
    assert done.returncode == 0 and done.calls == ["-m pytest tests"]
    done = project.run("-k", "london or rate", "tests/test_utils.py", name="run_tests.sh")
    assert done.calls == ["-m pytest -k london or rate tests/test_utils.py"]
    assert project.run(name="run_tests.sh", fail_at="pytest").returncode == 3


# A Python that lacks packages: it tells its version, and makes a virtual environment in which pip writes "installed".
BARE_PYTHON = r"""
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    --version) echo "Python 3.99" ;;
    *importlib*) exit 1 ;;
    *version_info*) exit "${TOO_OLD:-0}" ;;
    "-m venv"*)
        [ -z "$NO_VENV" ] || exit 1
        mkdir -p "$3/bin"
        cp "$VENV_PYTHON" "$3/bin/python" ;;
    *) exit 9 ;;
esac
""".strip("\n")
VENV_PYTHON = r"""
echo "venv: $*" >> "$CALLS"
case "$*" in
    *importlib*) [ -e "$(dirname "$0")/installed" ] && [ -z "$STILL_BROKEN" ] ;;
    "-m pip install"*) [ -z "$NO_NETWORK" ] || { echo "no network" >&2; exit 1; }; touch "$(dirname "$0")/installed" ;;
    *) exit 9 ;;
esac
""".strip("\n")
PYTHONS = ("python3", "python", "python3.11", "python3.12", "python3.13")


@pytest.fixture
def bare(tmp_path):
    """bare(**environment) chooses a Python in an empty project where all Pythons on the PATH lack the packages."""
    for name in PYTHONS:
        script(tmp_path / "bin" / name, BARE_PYTHON)
    script(tmp_path / "venv python", VENV_PYTHON)
    (tmp_path / "project").mkdir()
    calls = tmp_path / "calls"

    def choose(**environment):
        calls.write_text("", encoding="utf-8")
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls),
               "VENV_PYTHON": str(tmp_path / "venv python"), **environment}
        if "PYTHON" not in environment:
            env.pop("PYTHON", None)
        code = (f'set -euo pipefail; source "{ROOT}/tools/python_env.sh"; choose_python "torch tqdm" a.txt b.txt; '
                'echo "chose $PYTHON"')
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path / "project", env=env, capture_output=True, text=True, timeout=60)
        done.calls = calls.read_text(encoding="utf-8").splitlines()
        return done

    choose.folder, choose.venv = tmp_path, tmp_path / "project" / ".venv"
    return choose


def test_the_active_python_is_taken_if_it_has_all(bare):
    """It alone is asked, and for these modules; nothing is made."""
    good = script(bare.folder / "good python", 'echo "good $*" >> "$CALLS"')
    done = bare(PYTHON=str(good))
    assert (done.returncode, done.stdout) == (0, f"chose {good}\n")
    assert done.calls[-1].endswith(" torch tqdm") and not any("venv" in call for call in done.calls) and not bare.venv.exists()
    script(bare.folder / "bin" / "python3", 'echo "good $*" >> "$CALLS"')
    assert bare().stdout == "chose python3\n"


def test_a_python_is_asked_for_each_module(bare):
    """By the real Python: one module that is missing is enough."""
    def chosen(modules):
        code = f'source "{ROOT}/tools/python_env.sh"; can_import "{sys.executable}" "{modules}"'
        return subprocess.run(["bash", "-c", code]).returncode == 0

    assert chosen("json os") and not chosen("json no_such_module") and not chosen("no_such_module json")


def test_else_a_virtual_environment_is_made_once(bare):
    done = bare()
    pip = [line.split()[1:] for line in done.calls if line.startswith("venv: -m pip")]
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == f"chose {bare.venv}/bin/python"
    assert f"Setting up the virtual environment {bare.venv} with Python 3.99" in done.stdout
    assert [line for line in done.calls if "-m venv" in line] == [f"python3 -m venv {bare.venv}"]
    assert [words[:3] + words[-2:] for words in pip] == [["-m", "pip", "install", "-r", name] for name in ("a.txt", "b.txt")]
    again = bare()
    assert again.stdout == f"chose {bare.venv}/bin/python\n" and not any("-m " in line for line in again.calls)


@pytest.mark.parametrize("environment, line", [
    ({"NO_NETWORK": "1"}, "error: the packages of a.txt could not be installed (see above; is there a network?)"),
    ({"NO_VENV": "1"}, "error: 'python3 -m venv' does not work here; on Debian and Ubuntu: apt install python3-venv"),
    ({"TOO_OLD": "1"}, "error: Python 3.11 or later is needed, and none is on the PATH"),
    ({"STILL_BROKEN": "1"}, "cannot import one of: torch tqdm"),
])
def test_an_environment_that_cannot_be_made_is_one_line(bare, environment, line):
    done = bare(**environment)
    assert done.returncode == 2 and "chose" not in done.stdout
    own = [text for text in done.stderr.splitlines() if text != "no network"]  # pip's own, which is passed on
    assert len(own) == 1 and own[0].startswith("error: ") and line in own[0]


def test_an_interrupted_installation_is_taken_up(bare):
    assert bare(NO_NETWORK="1").returncode == 2
    done = bare()
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == f"chose {bare.venv}/bin/python"
