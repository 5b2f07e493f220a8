#!/usr/bin/env bash
# The whole experiment: parts (b), (d), (e), (f), (g) of the handout and the London baseline, then a table of what was
# measured. A stage that is complete is not run again, and one that was stopped goes on where it was, so that the same
# command continues. To begin anew, remove the folder with the results or choose another.
#
#   ./run_all.sh --quick          a small corpus and model, in minutes on a laptop
#   ./run_all.sh                  the course's recipe on the bundled files (a GPU, or hours)
#   ./run_all.sh --data DIR       the same on other files, for example data/cs224n after tools/fetch_data.py
#   ./run_all.sh --out DIR        where to write (default out/quick-seed0 and the like)
#   ./run_all.sh --seed N         another seed (default 0)
set -euo pipefail

usage_error() { echo "run_all.sh: error: $1" >&2; exit 2; }

data= out= seed=0 recipe=course
while [ $# -gt 0 ]; do
    case $1 in
        --quick) recipe=quick ;;
        --data | --out | --seed)
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

# stage NAME OUTPUT COMMAND…: runs the command unless it is complete, that is, it once ended well and its output (a path,
# or - for none) is still there. Its standard output is kept in logs/NAME.log, how long it took in stages/NAME.seconds, earlier
# attempts that were stopped counted in, but for those that were killed.
stage() {
    local name=$1 output=$2 mark=$out/stages/$1.seconds start=$SECONDS earlier status=0
    shift 2
    if [ -e "$mark" ] && { [ "$output" = - ] || [ -e "$output" ]; }; then
        echo "== $name: complete ($(cat "$mark") s), not run again"
        [ ! -e "$out/logs/$name.log.part" ] || mv "$out/logs/$name.log.part" "$out/logs/$name.log"
        return
    fi
    echo "== $name"
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

run() { "$PYTHON" src/run.py "$1" "$2" "$data/wiki.txt" --recipe "$recipe" --seed "$seed" "${@:3}"; }

# finetune_and_ask LABEL VARIANT PARAMS [--reading_params_path PRETRAINED]: finetunes, then answers dev and test.
finetune_and_ask() {
    local label=$1 variant=$2 params=$out/$3 split
    stage "$label.finetune" "$params" run finetune "$variant" --writing_params_path "$params" \
        --finetune_corpus_path "$data/birth_places_train.tsv" "${@:4}"
    for split in dev test; do
        local questions=$data/birth_dev.tsv predictions=$out/$label.$split.predictions
        [ $split = dev ] || questions=$data/birth_test_inputs.tsv
        stage "$label.$split" "$predictions" run evaluate "$variant" --reading_params_path "$params" \
            --eval_corpus_path "$questions" --outputs_path "$predictions"
    done
}

# (b) and (e): what the data looks like
root=$PWD
examples() { (cd "$data" && "$PYTHON" "$root/src/dataset.py" "$1"); }
stage namedata - examples namedata
stage charcorruption - examples charcorruption

# (d) without pretraining
finetune_and_ask vanilla.nopretrain vanilla vanilla.model.params

# (f) with pretraining, and (g) the same with the synthesizer
for variant in vanilla synthesizer; do
    stage "$variant.pretrain" "$out/$variant.pretrain.params" run pretrain "$variant" \
        --writing_params_path "$out/$variant.pretrain.params"
    finetune_and_ask "$variant.pretrain" "$variant" "$variant.finetune.params" \
        --reading_params_path "$out/$variant.pretrain.params"
done

stage london - "$PYTHON" london_baseline.py --eval_corpus_path "$data/birth_dev.tsv"

"$PYTHON" tools/report.py --data "$data" --out "$out" --recipe "$recipe" --seed "$seed"
