#!/usr/bin/env bash
# Runs the whole experiment: parts (b) and (d) to (g) of the handout, the London baseline, and a
# measurement of what the pretrained models recall. It ends with a report in the output folder.
#
# The same command resumes a run that was stopped. It does not repeat stages that are complete. To
# start again, remove the output folder or choose another one.
#
#   ./run_all.sh --quick          a small corpus and model: minutes on a laptop
#   ./run_all.sh                  the course's recipe on the bundled files: a GPU, or hours
#   ./run_all.sh --recipe NAME    another recipe of src/recipe.py: course2024 for the course since
#                                 2024, recall for one that recalls more
#   ./run_all.sh --data DIR       other files, for example data/cs224n (tools/corpus/fetch_data.py)
#   ./run_all.sh --out DIR        the output folder; default out/NAME-seedN
#   ./run_all.sh --seed N         another seed; default 0
#   ./run_all.sh --variant NAME   only this attention variant; others can follow in the same folder.
#                                 default: those of the course in the recipe's year
#   ./run_all.sh --bottleneck_dim M   of the perceiver, with --variant perceiver; default 32

usage_error() { echo "run_all.sh: error: $1" >&2; exit 2; }
[ -n "${BASH_VERSION:-}" ] || usage_error "run it with bash: bash run_all.sh"
set -euo pipefail

data='' out='' seed=0 recipe=course variant='' bottleneck_dim=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) recipe=quick ;;
        --data | --out | --seed | --variant | --recipe | --bottleneck_dim)
            [ $# -ge 2 ] && [ -n "$2" ] || usage_error "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift ;;
        -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) usage_error "unknown argument '$1' (see run_all.sh --help)" ;;
    esac
    shift
done
[[ $seed =~ ^[0-9]{1,9}$ ]] ||
    usage_error "--seed is '$seed'; a whole number of at most nine digits is expected"
[ "$recipe" != quick ] || [ -z "$data" ] ||
    usage_error "--quick makes its own corpus; leave out --data"

# Paths on the command line are relative to the caller's folder, all others to the project's.
unset CDPATH
from=$PWD
cd "$(dirname "$0")"
root=$PWD
name=bundled
if [ -n "$data" ]; then
    folder=$(cd "$from" && cd -- "$data" 2>/dev/null && pwd) ||
        usage_error "--data: there is no folder $data"
    data=$folder name=$(basename "$folder")
fi
case $recipe in
    course) ;;
    quick) name=quick ;;
    *) name=$name-$recipe ;;
esac
data=${data:-$root}
case $out in
    '') out=$root/out/$name-seed$seed ;;
    /*) ;;
    *) out=$from/$out ;;
esac

source tools/python_env.sh
choose_python "torch tqdm numpy" requirements.txt
case $PYTHON in /*) ;; */*) PYTHON=$root/$PYTHON ;; esac

# Five lines: the recipes; the variants; those of the course's edition that this recipe is from;
# the variants with a bottleneck; the most positions that it can have, and the default.
list_names='
import sys
sys.path.insert(0, "src")
from attention import VARIANTS
from model import GPTConfig
from recipe import COURSE, RECIPES
print(*RECIPES)
print(*VARIANTS)
print(*RECIPES.get(sys.argv[1], COURSE).variants())
print(*[name for name, one in VARIANTS.items() if getattr(one, "has_bottleneck", False)])
print(RECIPES.get(sys.argv[1], COURSE).block_size, GPTConfig.BOTTLENECK_DIM)
'
names=$("$PYTHON" -c "$list_names" "$recipe")
{ read -r recipes; read -r offered; read -r variants; read -r with_bottleneck
    read -r most default_dim; } <<< "$names"
check_choice() {  # FLAG VALUE "CHOICES"
    [[ " $3 " = *" $2 "* && $2 != *" "* ]] || usage_error "$1 is '$2'; possible are: $3"
}
check_choice --recipe "$recipe" "$recipes"
if [ -n "$variant" ]; then
    check_choice --variant "$variant" "$offered"
    variants=$variant
fi
model_flags=()
if [ -n "$bottleneck_dim" ]; then
    [[ -n $variant && " $with_bottleneck " = *" $variant "* ]] ||
        usage_error "--bottleneck_dim needs --variant with one of: $with_bottleneck"
    [[ $bottleneck_dim =~ ^[1-9][0-9]{0,8}$ && $bottleneck_dim -le $most ]] ||
        usage_error "--bottleneck_dim is '$bottleneck_dim'; a whole number from 1 to $most is expected"
    model_flags=(--bottleneck_dim "$bottleneck_dim")
fi

mkdir -p "$out/stages" "$out/logs" 2>/dev/null ||
    usage_error "--out: the folder $out cannot be made"

# One run at a time in a folder. The programs that this script starts hold the lock, too. Without
# flock (macOS), only the locks of run.py protect the folder.
if command -v flock >/dev/null; then
    { exec 9>"$out/.lock"; } 2>/dev/null ||
        usage_error "--out: the folder $out cannot be written to"
    flock -n 9 ||
        usage_error "$out is in use by another run_all.sh, or by a training that one started"
fi

machine=$("$PYTHON" tools/report/machine.py)

# complete OUTPUT: whether a stage's output is there. Predictions need their scores, too. The
# output - means that the stage writes no file.
complete() {
    case $1 in
        -) ;;
        *.predictions) [ -e "$1" ] && [ -e "${1%.predictions}.scores.tsv" ] ;;
        *) [ -e "$1" ] ;;
    esac
}

# stage NAME OUTPUT COMMAND...: runs a command unless it has succeeded before and its output is
# there. `run FUNCTION VARIANT FLAGS...` stands for run.py. The stage writes:
#   logs/NAME.log          the standard output
#   stages/NAME.command    the command, one word a line
#   stages/NAME.machines   the machine and the commit, one line for each attempt
#   stages/NAME.seconds    the duration, with attempts that were stopped; marks success
stage() {
    local name=$1 output=$2 mark=$out/stages/$1.seconds start=$SECONDS earlier status=0
    shift 2
    [ "$1" != run ] || set -- "$PYTHON" src/run.py "$2" "$3" "$data/wiki.txt" \
        --recipe "$recipe" --seed "$seed" ${model_flags[@]+"${model_flags[@]}"} "${@:4}"
    if [ -e "$mark" ] && complete "$output"; then
        echo "== $name: complete ($(cat "$mark") s), not run again"
        [ ! -e "$out/logs/$name.log.part" ] || mv "$out/logs/$name.log.part" "$out/logs/$name.log"
        return
    fi
    echo "== $name"
    printf '%s\n' "$@" > "$out/stages/$name.command"
    [ ! -e "$mark" ] || rm -f "$mark" "$out/stages/$name.machines"  # it starts from the beginning
    echo "$machine" >> "$out/stages/$name.machines"
    earlier=$(cat "$mark.part" 2>/dev/null || echo 0)
    # A subshell marks success, so that the mark is made even if this script is killed meanwhile.
    # tee -i ignores Ctrl-C, so that the command's last words are still logged.
    {
        "$@" || status=$?
        echo $((earlier + SECONDS - start)) > "$mark.part"
        [ $status -ne 0 ] || mv "$mark.part" "$mark"
        exit $status
    } | tee -i "$out/logs/$name.log.part" || status=$?
    case $status in
        0) ;;
        129 | 130 | 143)
            echo "run_all.sh: stage $name was stopped; the same command resumes it" >&2
            exit $status ;;
        *)
            echo "run_all.sh: stage $name failed; the same command resumes it" >&2
            exit 1 ;;
    esac
    mv "$out/logs/$name.log.part" "$out/logs/$name.log"
    echo "== $name: $(cat "$mark") s"
}

if [ "$recipe" = quick ]; then
    data=$out/corpus
    stage corpus "$data/wiki.txt" \
        "$PYTHON" tools/corpus/make_corpus.py --size quick --out "$data"
fi
files=()
for file in wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv; do
    files+=("$data/$file")
    [ -f "$data/$file" ] ||
        usage_error "$data/$file is missing (see tools/corpus/fetch_data.py for the course's files)"
done

# A folder holds one run: results of other files, another seed or another bottleneck are not mixed.
check_settings() {  # FILE SETTINGS
    [ -s "$1" ] || echo "$2" > "$1"
    local earlier
    earlier=$(cat "$1")
    [ "$earlier" = "$2" ] || usage_error \
        "$out holds a run with other settings ($earlier, now $2); choose another --out"
}
check_settings "$out/settings" "recipe=$recipe seed=$seed data=$(cat "${files[@]}" | cksum)"
for one in $variants; do
    [[ " $with_bottleneck " != *" $one "* ]] ||
        check_settings "$out/settings.$one" "bottleneck_dim=${bottleneck_dim:-$default_dim}"
done

# finetune_and_ask LABEL VARIANT PARAMS [--reading_params_path PRETRAINED]: finetunes, then answers
# dev and test, dev by beam search, and the questions about people without a document.
finetune_and_ask() {
    local label=$1 params=$out/$3
    stage "$label.finetune" "$params" run finetune "$2" --writing_params_path "$params" \
        --finetune_corpus_path "$data/birth_places_train.tsv" "${@:4}"
    ask "$label.dev" "$2" "$params" "$data/birth_dev.tsv"
    ask "$label.test" "$2" "$params" "$data/birth_test_inputs.tsv"
    ask "$label.beam" "$2" "$params" "$data/birth_dev.tsv" --beam 8
    [ ! -s "$out/invented.tsv" ] || ask "$label.invented" "$2" "$params" "$out/invented.tsv"
}

# ask STAGE VARIANT PARAMS QUESTIONS [FLAGS...]
ask() {
    stage "$1" "$out/$1.predictions" run evaluate "$2" \
        --reading_params_path "$3" --eval_corpus_path "$4" \
        --outputs_path "$out/$1.predictions" --scores_path "$out/$1.scores.tsv" "${@:5}"
}

# (b) and (e): examples of the data
examples() { (cd "$data" && "$PYTHON" "$root/src/dataset.py" "$1"); }
stage namedata - examples namedata
stage charcorruption - examples charcorruption

stage invented "$out/invented.tsv" "$PYTHON" tools/corpus/make_corpus.py \
    --unseen "$out/invented.tsv" --wiki "$data/wiki.txt"

# (d): without pretraining
case $variant in
    '' | vanilla) finetune_and_ask vanilla.nopretrain vanilla vanilla.model.params ;;
esac

# (f) with pretraining; (g) the same with the other variants
for one in $variants; do
    pretrained=$out/$one.pretrain.params recall=$out/$one.pretrain.recall.tsv
    stage "$one.pretrain" "$pretrained" run pretrain "$one" --writing_params_path "$pretrained"
    finetune_and_ask "$one.pretrain" "$one" "$one.finetune.params" \
        --reading_params_path "$pretrained"
    stage "$one.pretrain.recall" "$recall" \
        "$PYTHON" tools/experiments/recall.py "$one" "$data/wiki.txt" --recipe "$recipe" \
        ${model_flags[@]+"${model_flags[@]}"} \
        --pretrained_params_path "$pretrained" \
        --finetuned_params_path "$out/$one.finetune.params" \
        --eval_corpus_path "$data/birth_dev.tsv" --outputs_path "$recall"
done

stage london - "$PYTHON" london_baseline.py --eval_corpus_path "$data/birth_dev.tsv"

"$PYTHON" tools/report/record.py --data "$data" --run "$out" --to "$out/record"
"$PYTHON" tools/report/report.py --records "$out/record" --to "$out"
