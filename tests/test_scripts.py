"""
run_all.sh and run_tests.sh.

The shell scripts run in a copy of the project. Its Python is a fake that notes its arguments and
writes the files they name, so nothing is trained or installed.
"""

import os
import shutil
import subprocess
import sys
import time

import pytest

from attention import VARIANTS
from conftest import ROOT
from recipe import RECIPES
from shell import needs_bash, script

pytestmark = needs_bash
DATA = ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv")
SCRIPTS = ["run_all.sh", "run_tests.sh", "tools/python_env.sh"]


# ---- run_all.sh -----------------------------------------------------------------------------

# Notes its arguments, one call a line. Fails where they contain $FAIL_AT.
FAKE_PYTHON = r"""
case "$*" in
    *VARIANTS*) echo "$RECIPES"; echo "$VARIANTS"; echo "$DEFAULTS"; echo perceiver; echo 128 32
        exit ;;
    -c*) exit ;;
    tools/report/machine.py) echo '{"hardware": "a fake"}'; exit ;;
esac
echo "$@" >> "$CALLS"
if [ -n "$FAIL_AT" ]; then
    case "$*" in *"$FAIL_AT"*) echo half of it; echo "cannot go on" >&2; exit 3 ;; esac
fi
echo "output of $1"
while [ $# -gt 0 ]; do
    case $1 in
        --writing_params_path | --outputs_path | --scores_path | --unseen) echo written > "$2" ;;
        --size) mkdir -p "$4"; for name in @DATA@; do echo "$name" > "$4/$name"; done ;;
    esac
    shift
done
""".strip("\n").replace("@DATA@", " ".join(DATA))


class Project:
    """What run_all.sh needs, in a folder whose name has a space, and a fake Python beside it."""

    def __init__(self, folder):
        self.folder, self.root, self.calls = folder, folder / "my project", folder / "calls"
        (self.root / "tools").mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(ROOT / name, self.root / name)
        self.data(self.root)
        self.out = folder / "out"
        self.python = script(folder / "fake python" / "python", FAKE_PYTHON)

    @staticmethod
    def data(folder, text=""):
        folder.mkdir(parents=True, exist_ok=True)
        for name in DATA:
            (folder / name).write_text(name + text, encoding="utf-8")
        return folder

    def environment(self, **changes):
        base = {"PYTHON": str(self.python), "CALLS": str(self.calls), "FAIL_AT": ""}
        names = changes.get("VARIANTS", " ".join(VARIANTS))
        base |= {"RECIPES": " ".join(RECIPES), "VARIANTS": names, "DEFAULTS": names}
        return {**os.environ, **base, **changes}

    def run(self, *arguments, cwd=None, name="run_all.sh", shell="bash", **environment):
        """The finished process, with `calls`, the fake Python's argument lines."""
        self.calls.write_text("", encoding="utf-8")
        done = subprocess.run(
            [shell, str(self.root / name), *map(str, arguments)],
            cwd=cwd or self.root,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        done.calls = self.calls.read_text(encoding="utf-8").splitlines()
        return done

    def files(self):
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


NOPRETRAIN = "vanilla.nopretrain"


def expected_stages(data, out, root, recipe="course", seed=0, variants=VARIANTS, nopretrain=True):
    """{stage: the arguments of its Python}, in the handout's order."""

    def run(function, variant, *flags):
        words = ["src/run.py", function, variant, f"{data}/wiki.txt"]
        return " ".join([*words, "--recipe", recipe, "--seed", str(seed), *flags])

    def row(label, variant, params, *pretrained):
        train = f"--finetune_corpus_path {data}/birth_places_train.tsv"
        stages[f"{label}.finetune"] = run(
            "finetune", variant, f"--writing_params_path {out}/{params}", train, *pretrained
        )
        for kind, questions in (
            ("dev", f"{data}/birth_dev.tsv"),
            ("test", f"{data}/birth_test_inputs.tsv"),
            ("beam", f"{data}/birth_dev.tsv"),
            ("invented", f"{out}/invented.tsv"),
        ):
            stages[f"{label}.{kind}"] = run(
                "evaluate",
                variant,
                f"--reading_params_path {out}/{params}",
                f"--eval_corpus_path {questions}",
                f"--outputs_path {out}/{label}.{kind}.predictions",
                f"--scores_path {out}/{label}.{kind}.scores.tsv",
                *["--beam 8"] * (kind == "beam"),
            )

    invented = f"--unseen {out}/invented.tsv --wiki {data}/wiki.txt"
    stages = {
        "namedata": f"{root}/src/dataset.py namedata",
        "charcorruption": f"{root}/src/dataset.py charcorruption",
        "invented": f"tools/corpus/make_corpus.py {invented}",
    }
    if nopretrain:
        row(NOPRETRAIN, "vanilla", "vanilla.model.params")
    for variant in variants:
        label, params = f"{variant}.pretrain", f"{out}/{variant}.pretrain.params"
        stages[label] = run("pretrain", variant, f"--writing_params_path {params}")
        row(label, variant, f"{variant}.finetune.params", f"--reading_params_path {params}")
        stages[f"{label}.recall"] = (
            f"tools/experiments/recall.py {variant} {data}/wiki.txt --recipe {recipe}"
            f" --pretrained_params_path {params}"
            f" --finetuned_params_path {out}/{variant}.finetune.params"
            f" --eval_corpus_path {data}/birth_dev.tsv --outputs_path {out}/{label}.recall.tsv"
        )
    stages["london"] = f"london_baseline.py --eval_corpus_path {data}/birth_dev.tsv"
    return stages


def expected_report(data, out):
    """The calls after the stages."""
    record = f"tools/report/record.py --data {data} --run {out} --to {out}/record"
    return [record, f"tools/report/report.py --records {out}/record --to {out}"]


STAGES = list(expected_stages("", "", ""))
AFTER = 2  # calls after the stages


def test_the_stages_follow_the_handout(project):
    """With the bundled files and the default output folder."""
    done = project.run()
    root, out = project.root, project.root / "out" / "bundled-seed0"
    assert (done.returncode, done.stderr) == (0, "")
    stages = expected_stages(root, out, root)
    assert done.calls == [*stages.values(), *expected_report(root, out)]
    printed = [line[3:] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert [line for line in printed if ":" not in line] == STAGES
    assert {path.name for path in (out / "logs").iterdir()} == {f"{name}.log" for name in STAGES}
    kinds = ("command", "machines", "seconds")
    files = {path.name for path in (out / "stages").iterdir()}
    assert files == {f"{name}.{kind}" for name in STAGES for kind in kinds}
    assert (out / "logs" / "london.log").read_text() == "output of london_baseline.py\n"
    words = (out / "stages" / "vanilla.pretrain.command").read_text().splitlines()
    assert words[0] == str(project.python) and " ".join(words[1:]) == stages["vanilla.pretrain"]


def test_any_variant_of_the_list_can_be_chosen(project):
    """The names come from VARIANTS; a row of another variant can follow in the same folder."""
    names = {"VARIANTS": "vanilla mean"}
    done = project.run("--out", project.out, "--variant", "mean", **names)
    stages = expected_stages(
        project.root, project.out, project.root, variants=["mean"], nopretrain=False
    )
    assert done.returncode == 0 and done.calls[:-AFTER] == list(stages.values())
    done = project.run("--out", project.out, **names)
    more = expected_stages(project.root, project.out, project.root, variants=["vanilla"])
    assert done.calls[:-AFTER] == [more[name] for name in more if name not in stages]
    assert done.returncode == 0 and NOPRETRAIN + ".dev" in more
    error = project.run("--out", project.out, "--variant", "synthesizer", **names)
    usage_error(error, "synthesizer", "vanilla mean")


@pytest.mark.slow
def test_without_a_choice_the_variants_of_the_recipes_edition_run(project):
    """The real list: 2021 has the synthesizer, 2024 rope; all are offered."""
    for name in ("attention", "model", "fast/packing", "recipe", "dataset", "salient_spans"):
        name = f"src/{name}.py"
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project.root / name)
    real = FAKE_PYTHON.replace(
        "*VARIANTS*) ", f'*VARIANTS*) exec {sys.executable} "$@" ;;\n    x) '
    )
    script(project.python, real)
    for recipe, expected in (("course", "synthesizer"), ("course2024", "rope")):
        done = project.run("--out", project.folder / recipe, "--recipe", recipe)
        assert done.returncode == 0, done.stderr
        variants = [call.split()[2] for call in done.calls if " pretrain " in call]
        assert variants == RECIPES[recipe].variants() and expected in variants
        assert f"--recipe {recipe} " in done.calls[4]
    done = project.run("--out", project.out, "--variant", "perceiver")
    assert [call.split()[2] for call in done.calls if " pretrain " in call] == ["perceiver"]


def test_a_bottleneck_is_checked_before_anything_is_made(project):
    words = ["--out", project.out, "--variant"]
    for more in (["perceiver", "--bottleneck_dim", m] for m in ("x", "0", "129", "8.5")):
        usage_error(project.run(*words, *more), more[-1], "128")
    usage_error(project.run(*words, "vanilla", "--bottleneck_dim", "8"), "perceiver")
    usage_error(project.run("--out", project.out, "--bottleneck_dim", "8"), "--variant")
    assert not project.out.exists()
    done = project.run(*words, "perceiver", "--bottleneck_dim", "64")
    assert done.returncode == 0, done.stderr
    calls = [call for call in done.calls if "run.py" in call or "recall.py" in call]
    assert len(calls) == 7 and all("--bottleneck_dim 64" in call for call in calls)
    usage_error(project.run(*words, "perceiver", "--bottleneck_dim", "8"), "bottleneck_dim=64")
    assert project.run(*words, "vanilla").returncode == 0  # another variant may follow
    words = "--out", project.out / "default", "--variant", "perceiver"
    for more in ((), ("--bottleneck_dim", "32")):
        assert project.run(*words, *more).returncode == 0


def test_the_quick_run_makes_its_corpus(project):
    done = project.run("--quick", "--seed", "7")
    out = project.root / "out" / "quick-seed7"
    stages = expected_stages(out / "corpus", out, project.root, "quick", 7)
    corpus = f"tools/corpus/make_corpus.py --size quick --out {out}/corpus"
    report = expected_report(out / "corpus", out)
    assert done.returncode == 0 and done.calls == [corpus, *stages.values(), *report]


def test_relative_paths_are_the_callers(project):
    elsewhere = project.folder / "else where"
    data, out = project.data(elsewhere / "my data"), elsewhere / "my runs" / "one"
    arguments = ("--data", "my data", "--out", "my runs/one")
    done = project.run(*arguments, cwd=elsewhere, PYTHON="../fake python/python")
    assert done.returncode == 0, done.stderr
    assert done.calls[:-AFTER] == list(expected_stages(data, out, project.root).values())
    assert (out / "vanilla.pretrain.dev.predictions").exists()
    done = project.run("--data", "my data", "--seed", "3", cwd=elsewhere)
    assert (project.root / "out" / "my data-seed3" / "vanilla.model.params").exists()
    assert project.run("--data", ".", "--seed", "4", cwd=data).returncode == 0
    assert (project.root / "out" / "my data-seed4" / "vanilla.model.params").exists()


def test_the_examples_are_of_the_data_given(project):
    """dataset.py reads the files of the current folder."""
    data = project.data(project.folder / "data")
    where = script(
        project.folder / "where" / "python",
        'case $1 in *dataset.py) echo "$2 in $PWD" ;; esac',
        f'exec "{project.python}" "$@"',
    )
    done = project.run("--data", data, PYTHON=str(where))
    assert f"namedata in {data}\n" in done.stdout and f"charcorruption in {data}\n" in done.stdout


def test_a_corpus_that_cannot_spell_invented_names(project):
    python = script(
        project.folder / "spells nothing" / "python",
        'case "$*" in *--unseen*) : > "$3"; exit 0 ;; esac',
        f'exec "{project.python}" "$@"',
    )
    done = project.run("--out", project.out, PYTHON=str(python))
    assert done.returncode == 0 and not any("invented.tsv" in call for call in done.calls)


def test_complete_stages_are_not_repeated(project):
    first = project.run("--out", project.out)
    times = {path: path.stat().st_mtime_ns for path in project.out.rglob("*.p*")}
    again = project.run("--out", project.out)
    assert again.returncode == 0 and again.calls == first.calls[-AFTER:]
    assert {path: path.stat().st_mtime_ns for path in project.out.rglob("*.p*")} == times


def test_a_stage_without_its_output_is_repeated(project):
    project.run("--out", project.out)
    stages = expected_stages(project.root, project.out, project.root)
    for missing, stage in (
        ("vanilla.pretrain.params", "vanilla.pretrain"),
        ("vanilla.pretrain.dev.predictions", "vanilla.pretrain.dev"),
        ("vanilla.pretrain.dev.scores.tsv", "vanilla.pretrain.dev"),
        ("vanilla.pretrain.recall.tsv", "vanilla.pretrain.recall"),
    ):
        (project.out / missing).unlink()
        done = project.run("--out", project.out)
        assert done.calls[:-AFTER] == [stages[stage]] and (project.out / missing).exists()


@pytest.mark.parametrize("stage", ["vanilla.pretrain.finetune", "charcorruption", "london"])
def test_a_failed_stage_ends_the_run_and_is_resumed(project, stage):
    stages = expected_stages(project.root, project.out, project.root)
    failed = project.run("--out", project.out, FAIL_AT=stages[stage])
    place = STAGES.index(stage)
    assert failed.returncode == 1 and failed.calls == list(stages.values())[: place + 1]
    assert failed.stderr.count("\n") == 2 and f"stage {stage} failed" in failed.stderr
    assert not (project.out / "stages" / f"{stage}.seconds").exists()
    resumed = project.run("--out", project.out)
    assert resumed.returncode == 0 and resumed.calls[:-AFTER] == list(stages.values())[place:]
    log = (project.out / "logs" / f"{stage}.log").read_text()
    assert log.startswith("output of ") and list(project.out.rglob("*.part")) == []


def test_the_output_of_a_failed_stage_does_not_make_it_complete(project):
    project.run("--out", project.out, FAIL_AT="--outputs_path")
    for name in ("predictions", "scores.tsv"):
        (project.out / f"vanilla.nopretrain.dev.{name}").write_text("half of it")
    assert "vanilla.nopretrain.dev" in project.run("--out", project.out).calls[0]


@pytest.mark.parametrize("tool, calls", [("record.py", 1), ("report.py", 2)])
def test_a_failed_report_is_no_success(project, tool, calls):
    done = project.run(FAIL_AT=tool)
    assert done.returncode != 0 and len(done.calls) == len(STAGES) + calls


def test_the_machines_of_all_attempts_are_kept(project):
    path = project.out / "stages" / "vanilla.pretrain.machines"
    project.run("--out", project.out, FAIL_AT="pretrain vanilla")
    path.write_text(path.read_text().replace("a fake", "another"))
    project.run("--out", project.out)
    assert path.read_text() == '{"hardware": "another"}\n{"hardware": "a fake"}\n'
    (project.out / "vanilla.pretrain.params").unlink()  # it starts from the beginning
    project.run("--out", project.out, FAIL_AT="pretrain vanilla")
    assert path.read_text() == '{"hardware": "a fake"}\n'
    project.run("--out", project.out)  # and goes on
    assert path.read_text() == '{"hardware": "a fake"}\n' * 2


@pytest.mark.parametrize("code, said, expected", [(143, "stopped", 143), (2, "failed", 1)])
def test_the_time_of_a_stopped_stage_counts(project, code, said, expected):
    """Attempts before took 41 seconds; the one that is stopped has read that, and adds its own."""
    seconds = project.out / "stages" / "vanilla.pretrain.seconds"
    part = seconds.with_name("vanilla.pretrain.seconds.part")
    part.parent.mkdir(parents=True)
    part.write_text("41")
    python = script(
        project.folder / "stopping" / "python",
        f'case "$*" in *"pretrain vanilla"*) rm "{part}"; exit {code} ;; esac',
        f'exec "{project.python}" "$@"',
    )
    done = project.run("--out", project.out, PYTHON=str(python))
    assert done.returncode == expected and done.stderr.count("\n") == 1
    assert "vanilla.pretrain" in done.stderr and said in done.stderr
    assert project.run("--out", project.out).returncode == 0
    assert int(seconds.read_text()) >= 41


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.01)


def takes_lock(file):
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


needs_flock = pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")


@needs_flock
@pytest.mark.slow
def test_a_stage_that_outlives_its_script_holds_the_folder_and_becomes_complete(project):
    out, started, go = project.out, project.folder / "started", project.folder / "go"
    python = script(
        project.folder / "slow" / "python",
        f'case "$*" in *"pretrain vanilla"*) touch "{started}"; n=0',
        f'while [ ! -e "{go}" ] && [ $((n += 1)) -lt 600 ]; do sleep 0.1; done',
        "sleep 1.1 ;; esac",
        f'exec "{project.python}" "$@"',
    )
    process = subprocess.Popen(
        ["bash", project.root / "run_all.sh", "--out", out],
        cwd=project.root,
        env=project.environment(PYTHON=str(python)),
        stdout=subprocess.DEVNULL,
    )
    wait_for(started.exists)
    process.terminate()
    process.wait()
    usage_error(project.run("--out", out), str(out))
    go.touch()
    with open(out / ".lock") as lock:
        wait_for(lambda: takes_lock(lock))
    assert int((out / "stages" / "vanilla.pretrain.seconds").read_text()) >= 1
    done = project.run("--out", out)
    assert done.returncode == 0 and not any("pretrain vanilla" in call for call in done.calls)
    assert (out / "logs" / "vanilla.pretrain.log").exists() and not list(out.rglob("*.part"))


@needs_flock
def test_one_folder_holds_one_run_at_a_time(project):
    project.out.mkdir()
    with open(project.out / ".lock", "w") as lock:
        assert takes_lock(lock)
        usage_error(project.run("--out", project.out), str(project.out))
    assert project.run("--out", project.out).returncode == 0


def usage_error(done, *parts):
    assert (done.returncode, done.calls, done.stderr.count("\n")) == (2, [], 1), done
    assert all(part in done.stderr for part in parts), done.stderr


def test_one_folder_holds_one_run(project):
    """Another seed, other files and another recipe are refused."""
    project.out.mkdir()
    (project.out / "settings").write_text("")  # as left by a full disk
    out = ("--out", project.out)
    assert project.run(*out, "--seed", "1").returncode == 0
    usage_error(project.run(*out, "--seed", "2"), "seed=1", "seed=2", "--out")
    other = project.data(project.folder / "other", " changed")
    usage_error(project.run(*out, "--seed", "1", "--data", other), "--out")
    same = project.data(project.folder / "same")
    assert project.run(*out, "--seed", "1", "--data", same).returncode == 0
    done = project.run(*out, "--seed", "1", "--quick")
    assert done.returncode == 2 and not any("src/run.py" in call for call in done.calls)


def test_help(project):
    before = project.files()
    done = project.run("--help")
    assert (done.returncode, done.stderr, done.calls) == (0, "", [])
    options = ("--quick", "--data DIR", "--out DIR", "--seed N", "--variant NAME", "--recipe NAME")
    assert all(f"./run_all.sh {option}" in done.stdout for option in options)
    assert "#" not in done.stdout and "usage_error" not in done.stdout
    assert project.files() - before <= {"calls"}


def test_a_wrong_call(project):
    before = project.files()
    for arguments in (
        ["--fast"],
        ["here"],
        ["--data"],
        ["--seed", ""],
        ["--seed", "1.5"],
        ["--seed", "1234567890"],
        ["--recipe", "curse"],
        ["--variant", "both"],
        ["--variant", "vanilla synthesizer"],
        ["--quick", "--data", "x"],
    ):
        usage_error(project.run(*arguments), arguments[0])
    assert project.files() - before == {"calls"}


def test_data_that_is_not_there(project):
    data = project.data(project.folder / "data")
    for missing in DATA:
        (data / missing).rename(project.folder / missing)
        usage_error(project.run("--data", data, "--out", project.out), f"{data}/{missing}")
        (project.folder / missing).rename(data / missing)
    usage_error(project.run("--data", "nowhere", "--out", project.out), "nowhere")


def test_an_output_folder_that_cannot_be_made(project):
    (project.folder / "file").write_text("")
    folder = project.folder / "file" / "out"
    usage_error(project.run("--out", folder), str(folder))


@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_another_shell_is_told_to_use_bash(project, shell):
    if shutil.which(shell) is None or os.path.realpath(shutil.which(shell)).endswith("bash"):
        pytest.skip(f"no {shell}, or it is bash")
    usage_error(project.run(shell=shell), "bash")


# ---- run_tests.sh ---------------------------------------------------------------------------


def test_run_tests(project):
    run = {"name": "run_tests.sh", "cwd": project.folder}
    assert project.run(**run).calls == ["-m pytest -n 2 -m not slow"]
    assert project.run("--all", **run).calls == ["-m pytest -n 2"]
    assert project.run("--all", "-x", **run).calls == ["-m pytest -n 2 -x"]
    assert project.run("-k", "london", **run).calls == ["-m pytest -k london"]
    assert project.run(FAIL_AT="pytest", **run).returncode == 3
