"""The words of run.py's command line, and what can be said of them before anything is read: READS and WRITES name the paths."""
import math
import os

from attention import VARIANTS
from dataset import InputError, Parser
from files import is_special
from hardware import PRECISIONS, processes
from progress import note
from recipe import RECIPES

# The paths that each function reads and writes, by the names of their flags.
READS = {"pretrain": [], "finetune": ["reading_params_path", "finetune_corpus_path"],
         "evaluate": ["reading_params_path", "eval_corpus_path"]}
WRITES = {"pretrain": ["writing_params_path"], "finetune": ["writing_params_path"], "evaluate": ["outputs_path", "scores_path"]}
NO_BEAM = 1
MOST_BEAMS = 256  # of each question; a vocabulary has about as many characters
OPTIONAL = {("finetune", "reading_params_path"), ("evaluate", "scores_path")}


def can_be_a_path(name):
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def parse_arguments(arguments=None):
    parser = Parser(prog="run.py", description="Pretrain, finetune or evaluate a model that is asked where people were born.",
                    epilog="A training that was stopped goes on when the same command is given again, from what it keeps in "
                           "PARAMS.resume, PARAMS being its --writing_params_path. PARAMS.log.jsonl is its log.")
    parser.add_argument("function", choices=list(READS), help="what to do")
    parser.add_argument("variant", choices=list(VARIANTS), help="the model's attention")
    parser.add_argument("pretrain_corpus_path", help="the text to pretrain on; also elsewhere, for its vocabulary")
    parser.add_argument("--reading_params_path", help="parameters to start from (finetune) or to ask (evaluate)")
    parser.add_argument("--writing_params_path", help="where to write the trained parameters (pretrain, finetune)")
    parser.add_argument("--finetune_corpus_path", help="questions with places to learn from (finetune)")
    parser.add_argument("--eval_corpus_path", help="questions to answer, with or without places (evaluate)")
    parser.add_argument("--outputs_path", help="where to write the predicted places (evaluate)")
    parser.add_argument("--scores_path", help="where to write a table of the predictions with their probabilities (evaluate)")
    parser.add_argument("--beam", type=int, default=NO_BEAM, metavar="N",
                        help="predict the place that is most probable as a whole, of those found by following N beginnings at once; "
                             "default 1, the most probable character each time (evaluate)")
    parser.add_argument("--tb_log_dir", help="where to write loss and learning rate for TensorBoard, if it is installed (pretrain, "
                                             "finetune)")
    parser.add_argument("--seed", type=int, default=0, help="of initial parameters, data and dropout; default 0")
    parser.add_argument("--device", help="cuda, cuda:1, cpu …; default: CUDA if there is one, else the CPU")
    parser.add_argument("--recipe", choices=list(RECIPES), default="course",
                        help="sizes and schedule; quick is a small model for run_all.sh --quick; default course")
    parser.add_argument("--max_epochs", type=int, help="train for so many epochs instead of the recipe's")
    parser.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto",
                        help="of matrix products in training; default auto: bfloat16 where the hardware multiplies it, else float32. "
                             "Evaluation is in float32")
    parser.add_argument("--micro_batch_size", type=int,
                        help="send so many rows of a batch through the model at once; saves memory, with the same result")
    parser.add_argument("--resume_every", type=float, default=60, metavar="SECONDS",
                        help="how often to write what an interrupted training goes on from, beside the parameters; default 60, and "
                             "never more than 2%% of the time")
    parser.add_argument("--restart", action="store_true", help="begin anew, whatever an interrupted training has left")
    args = parser.parse_args(arguments)
    if not 0 <= args.seed < 2 ** 32:
        parser.error(f"--seed is {args.seed}; a number from 0 to 4294967295 is expected")
    if args.max_epochs is not None and args.max_epochs < 1:
        parser.error(f"--max_epochs is {args.max_epochs}; at least 1 is expected")
    if args.micro_batch_size is not None and args.micro_batch_size < 1:
        parser.error(f"--micro_batch_size is {args.micro_batch_size}; at least 1 is expected")
    if not 0 <= args.resume_every < math.inf:
        parser.error(f"--resume_every is {args.resume_every}; a number of seconds from 0 is expected")
    if not 1 <= args.beam <= MOST_BEAMS:
        parser.error(f"--beam is {args.beam}; a number from 1 to {MOST_BEAMS} is expected")
    if args.function == "evaluate" and processes() > 1:
        parser.error("evaluate runs in one process, without torchrun")
    return args


def check_paths(args):
    """Raises InputError for a flag that is missing, an input that is not there, or an output that cannot be written."""
    reads, writes = READS[args.function], WRITES[args.function]
    for flag in reads + writes:
        if getattr(args, flag) is None and (args.function, flag) not in OPTIONAL:
            raise InputError(f"{args.function} needs --{flag}")
    inputs = [args.pretrain_corpus_path] + [getattr(args, flag) for flag in reads if getattr(args, flag) is not None]
    writes = [flag for flag in writes if getattr(args, flag) is not None]
    for path in inputs + [getattr(args, flag) for flag in writes]:
        if not can_be_a_path(path):
            raise InputError(f"{path}: no file can have that name")
    for path in inputs:
        if os.path.isdir(path):
            raise InputError(f"{path}: is a folder, not a file")
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file")
    for flag in writes:
        path = getattr(args, flag)
        folder = os.path.dirname(path) or "."
        if os.path.isdir(path) or not os.path.basename(path):
            raise InputError(f"--{flag} {path}: is a folder; a file's name is expected")
        if not os.path.isdir(folder):
            raise InputError(f"--{flag} {path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK) and not is_special(path):
            raise InputError(f"--{flag} {path}: the folder {folder} cannot be written to")
        for other in inputs:
            # Finetuning may put the finetuned parameters in the place of the pretrained ones, once it is done.
            if (args.function, other) != ("finetune", args.reading_params_path) and is_same_file(path, other):
                raise InputError(f"--{flag} {path}: would overwrite an input of this command")
            for kept in (resume_path(args), log_path(args)) if flag == "writing_params_path" else ():
                if is_same_file(kept, other):
                    raise InputError(f"--{flag} {path}: {kept}, which is written beside it, would overwrite an input of this command")
    if "scores_path" in writes and not is_special(args.scores_path) and (
            os.path.realpath(args.scores_path) == os.path.realpath(args.outputs_path)):
        raise InputError(f"--scores_path {args.scores_path}: is the file of --outputs_path, too")
    if args.tb_log_dir is not None and args.function != "evaluate":
        check_folder("tb_log_dir", args.tb_log_dir)
        for path in (args.writing_params_path, resume_path(args), log_path(args)):
            if is_within(args.tb_log_dir, path):
                raise InputError(f"--tb_log_dir {args.tb_log_dir}: {path} is to be a file of this command, not a folder")
    note_unused_flags(args)


def note_unused_flags(args):
    """Says which of the flags that only some functions have are given to one that has no use for them."""
    used = {"beam"} if args.function == "evaluate" else {"tb_log_dir"}
    used.update(READS[args.function] + WRITES[args.function])
    flags = {flag for by_function in (READS, WRITES) for names in by_function.values() for flag in names} | {"beam", "tb_log_dir"}
    for flag in sorted(flags - used):
        if getattr(args, flag) not in (None, NO_BEAM):
            note(f"note: {args.function} makes no use of --{flag}")


def is_within(path, other):
    """Whether path is other or below it, whether they are there or not."""
    path, other = os.path.realpath(path), os.path.realpath(other)
    return path == other or path.startswith(other + os.sep)


def check_folder(flag, path):
    """Raises InputError if there cannot be a folder of that name to write to."""
    if not can_be_a_path(path) or not path:
        raise InputError(f"--{flag} {path}: no folder can have that name")
    above = os.path.abspath(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise InputError(f"--{flag} {path}: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise InputError(f"--{flag} {path}: the folder {above} cannot be written to")


def is_same_file(path, other):
    return os.path.exists(path) and os.path.samefile(path, other)


def resume_path(args):
    return f"{args.writing_params_path}.resume"


def log_path(args):
    return f"{args.writing_params_path}.log.jsonl"
