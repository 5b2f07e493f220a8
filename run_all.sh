#!/usr/bin/env bash
# The whole experiment: parts (b), (d), (e), (f), (g) of the handout and the London baseline, what the pretrained models know beyond
# what they are asked, then a report of what was measured: RESULTS.md and plots/ in the folder with the results, and record/, which
# holds all that they are made from. A stage that is complete is not run again, and one that was stopped goes on where it was, so
# that the same command continues. To begin anew, remove the folder with the results or choose another.
#
#   ./run_all.sh --quick          a small corpus and model, in minutes on a laptop
#   ./run_all.sh                  the course's recipe on the bundled files (a GPU, or hours)
#   ./run_all.sh --data DIR       the same on other files, for example data/cs224n after tools/fetch_data.py
#   ./run_all.sh --out DIR        where to write (default out/quick-seed0 and the like)
#   ./run_all.sh --seed N         another seed (default 0)
#   ./run_all.sh --variant NAME   only the rows of vanilla or of synthesizer; the other's can follow in the same folder
set -euo pipefail

usage_error() { echo "run_all.sh: error: $1" >&2; exit 2; }

data= out= seed=0 recipe=course variant=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) recipe=quick ;;
        --data | --out | --seed | --variant)
            [ $# -ge 2 ] && [ -n "$2" ] || usage_error "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
        *) usage_error "unknown argument '$1' (see run_all.sh --help)" ;;
    esac
    shift
done
case $seed in '' | *[!0-9]*) usage_error "--seed is '$seed'; a whole number from 0 is expected" ;; esac
[ ${#seed} -le 9 ] || usage_error "--seed is $seed; at most nine digits are expected"
case $variant in '' | vanilla | synthesizer) ;; *) usage_error "--variant is '$variant'; vanilla or synthesizer is expected" ;; esac
[ "$recipe" = course ] || [ -z "$data" ] || usage_error "--quick makes its own small corpus; --data goes without it"

# Paths given on the command line are relative to the caller's folder, the script's own to the project's root.
from=$PWD
cd "$(dirname "$0")"
absolute() { case $1 in /*) echo "$1" ;; *) echo "$from/$1" ;; esac; }
if [ -n "$data" ]; then data=$(absolute "$data"); name=$(basename "$data"); else data=$PWD name=bundled; fi
[ "$recipe" = course ] || name=quick
if [ -n "$out" ]; then out=$(absolute "$out"); else out=$PWD/out/$name-seed$seed; fi
mkdir -p "$out/stages" "$out/logs" 2>/dev/null || usage_error "--out: the folder $out cannot be made"

source tools/python_env.sh
choose_python "torch tqdm numpy" requirements.txt
case $PYTHON in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac

# One run at a time; the lock ends with this script and what it has started. Where there is no flock, run.py's own locks remain.
if command -v flock >/dev/null; then
    { exec 9>"$out/.lock"; } 2>/dev/null || usage_error "--out: the folder $out cannot be written to"
    flock -n 9 || usage_error "another run_all.sh, or a training that one has left behind, is at work in $out"
fi

machine=$("$PYTHON" tools/machine.py)

# complete OUTPUT: whether a stage's output is there, for predictions with their probabilities; - stands for none.
complete() {
    [ "$1" = - ] || { [ -e "$1" ] && { [ "$1" = "${1%.predictions}" ] || [ -e "${1%.predictions}.scores.tsv" ]; }; }
}

# stage NAME OUTPUT COMMAND…: runs the command (`run FUNCTION VARIANT …` is run.py's) unless it is complete, that is, it once ended well
# and its output is still there. Its standard output is kept in logs/NAME.log, its words in stages/NAME.command, one a line, the
# machines and commits that it ran on in stages/NAME.machines, one an attempt, and how long it took in stages/NAME.seconds, earlier
# attempts that were stopped counted in, but for those that were killed.
stage() {
    local name=$1 output=$2 mark=$out/stages/$1.seconds start=$SECONDS earlier status=0
    shift 2
    [ "$1" != run ] || set -- "$PYTHON" src/run.py "$2" "$3" "$data/wiki.txt" --recipe "$recipe" --seed "$seed" "${@:4}"
    if [ -e "$mark" ] && complete "$output"; then
        echo "== $name: complete ($(cat "$mark") s), not run again"
        [ ! -e "$out/logs/$name.log.part" ] || mv "$out/logs/$name.log.part" "$out/logs/$name.log"
        return
    fi
    echo "== $name"
    printf '%s\n' "$@" > "$out/stages/$name.command"
    [ ! -e "$mark" ] || rm -f "$out/stages/$name.machines"  # what it made is gone, and it is made anew
    echo "$machine" >> "$out/stages/$name.machines"
    earlier=$(cat "$mark.part" 2>/dev/null || echo 0)
    # The command's own subshell marks it complete: it is there to the command's end, also where this script is killed alone.
    # tee -i: Ctrl-C is for the command, which has something to say yet.
    {
        "$@" || status=$?
        echo $((earlier + SECONDS - start)) > "$mark.part"
        [ $status -ne 0 ] || mv "$mark.part" "$mark"
        exit $status
    } | tee -i "$out/logs/$name.log.part" || status=$?
    case $status in
        0) ;;
        129 | 130 | 143) echo "run_all.sh: stage $name was stopped; the same command continues here" >&2; exit $status ;;
        *) echo "run_all.sh: stage $name failed; the same command continues here" >&2; exit 1 ;;
    esac
    mv "$out/logs/$name.log.part" "$out/logs/$name.log"
    echo "== $name: $(cat "$mark") s"
}

if [ "$recipe" = quick ]; then
    data=$out/corpus
    stage corpus "$data/wiki.txt" "$PYTHON" tools/make_corpus.py --size quick --out "$data"
fi
for file in wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv; do
    [ -f "$data/$file" ] || usage_error "$data/$file is missing (tools/fetch_data.py brings the course's files)"
done

# One folder holds one run: results of other files or another seed are never mixed.
settings="recipe=$recipe seed=$seed data=$(cat "$data"/{wiki.txt,birth_places_train.tsv,birth_dev.tsv,birth_test_inputs.tsv} | cksum)"
if [ -s "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
    usage_error "$out holds a run with other settings ($(cat "$out/settings"), now $settings); choose another --out"
fi
[ -s "$out/settings" ] || { echo "$settings" > "$out/settings.part" && mv "$out/settings.part" "$out/settings"; }

# finetune_and_ask LABEL VARIANT PARAMS [--reading_params_path PRETRAINED]: finetunes, then answers dev and test; dev once more with
# the most probable place as a whole, and questions about people who are in no document.
finetune_and_ask() {
    local label=$1 params=$out/$3
    stage "$label.finetune" "$params" run finetune "$2" --writing_params_path "$params" \
        --finetune_corpus_path "$data/birth_places_train.tsv" "${@:4}"
    ask "$label.dev" "$2" "$params" "$data/birth_dev.tsv"
    ask "$label.test" "$2" "$params" "$data/birth_test_inputs.tsv"
    ask "$label.beam" "$2" "$params" "$data/birth_dev.tsv" --beam 8
    [ ! -s "$out/invented.tsv" ] || ask "$label.invented" "$2" "$params" "$out/invented.tsv"
}

# ask STAGE VARIANT PARAMS QUESTIONS [FLAG…]
ask() {
    stage "$1" "$out/$1.predictions" run evaluate "$2" --reading_params_path "$3" --eval_corpus_path "$4" \
        --outputs_path "$out/$1.predictions" --scores_path "$out/$1.scores.tsv" "${@:5}"
}

# (b) and (e): what the data looks like
root=$PWD
examples() { (cd "$data" && "$PYTHON" "$root/src/dataset.py" "$1"); }
stage namedata - examples namedata
stage charcorruption - examples charcorruption

stage invented "$out/invented.tsv" "$PYTHON" tools/make_corpus.py --unseen "$out/invented.tsv" --wiki "$data/wiki.txt"

# (d) without pretraining
[ "$variant" = synthesizer ] || finetune_and_ask vanilla.nopretrain vanilla vanilla.model.params

# (f) with pretraining, and (g) the same with the synthesizer
for one in ${variant:-vanilla synthesizer}; do
    stage "$one.pretrain" "$out/$one.pretrain.params" run pretrain "$one" --writing_params_path "$out/$one.pretrain.params"
    finetune_and_ask "$one.pretrain" "$one" "$one.finetune.params" --reading_params_path "$out/$one.pretrain.params"
    # what it knows beyond what it is asked
    stage "$one.pretrain.recall" "$out/$one.pretrain.recall.tsv" "$PYTHON" tools/recall.py "$one" "$data/wiki.txt" --recipe "$recipe" \
        --pretrained_params_path "$out/$one.pretrain.params" --finetuned_params_path "$out/$one.finetune.params" \
        --eval_corpus_path "$data/birth_dev.tsv" --outputs_path "$out/$one.pretrain.recall.tsv"
done

stage london - "$PYTHON" london_baseline.py --eval_corpus_path "$data/birth_dev.tsv"

"$PYTHON" tools/record.py --data "$data" --run "$out" --recipe "$recipe" --seed "$seed" --to "$out/record"
"$PYTHON" tools/report.py --records "$out/record" --to "$out"
