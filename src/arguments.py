"""run.py's command line: its words, and what can be checked before anything is read."""

import argparse
import difflib
import itertools
import math
import os
import re
import shlex
import sys
from collections.abc import Callable

from attention import VARIANTS
from model import GPTConfig
from recipe import RECIPES
from runs.checkpoint import meta_path
from runs.console import Parser, note, one_line
from runs.device import PRECISIONS
from runs.distributed import processes
from runs.files import check_output, is_special
from runs.inputs import InputError

LARGEST_BEAM = 256  # a vocabulary has about as many characters


class InputPath(str):
    """A path to a file that is there. Raises argparse's error for a flag."""

    def __new__(cls, path: str):
        if os.path.isdir(path):
            raise argparse.ArgumentTypeError(f"{path}: is a folder, not a file")
        if not path:
            raise argparse.ArgumentTypeError("the path is empty")
        if not os.path.exists(path):
            raise argparse.ArgumentTypeError(f"{path}: no such file")
        return super().__new__(cls, path)


class OutputPath(str):
    """A path to a file that can be written. Raises argparse's error for a flag."""

    def __new__(cls, path: str):
        try:
            check_output(path)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return super().__new__(cls, path)


def folder_to_write(path: str) -> str:
    """The path, if a folder of that name is there or can be made."""
    if not path:
        raise argparse.ArgumentTypeError("the path is empty")
    above = os.path.abspath(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise argparse.ArgumentTypeError(f"{path}: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: the folder {above} cannot be written to")
    return path


def number(kind: type, fits: Callable[[float], bool], expected: str) -> Callable[[str], float]:
    """What parses a flag's number: an int or a float for which fits(number) holds."""

    def parse(text):
        try:
            found = kind(text)
        except ValueError:
            found = None
        if found is None or not fits(found):
            raise argparse.ArgumentTypeError(f"{text}: {expected}, is expected")
        return found

    return parse


def whole_number(least: int, most: int = 10**9) -> Callable[[str], int]:
    expected = f"a whole number, {least} to {most}"
    return number(int, lambda found: least <= found <= most, expected)


seconds = number(float, lambda found: 0 <= found < math.inf, "a number of seconds, 0 or more")
rate = number(float, lambda found: 0 < found <= 1e300, "a learning rate, above 0")


def add_bottleneck_dim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bottleneck_dim",
        type=whole_number(1),
        metavar="M",
        help=f"positions of the perceiver's bottleneck; default {GPTConfig.BOTTLENECK_DIM}",
    )


def settle_bottleneck_dim(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """
    Sets the default for a perceiver, and None for any other. Ends the process with one line where
    a perceiver can have no such bottleneck.
    """
    if not getattr(VARIANTS[args.variant], "has_bottleneck", False):
        if args.bottleneck_dim is not None:
            note(f"note: --bottleneck_dim does not change {args.variant}")
            args.bottleneck_dim = None
        return
    if args.bottleneck_dim is None:
        args.bottleneck_dim = GPTConfig.BOTTLENECK_DIM
    most = RECIPES[args.recipe].block_size
    if args.bottleneck_dim > most:
        parser.error(f"--bottleneck_dim: {args.bottleneck_dim} is above {most}, the block size")


# The course's professional edition gives these as flags; here they are words.
WORDS = ("--function", "--variant", "--pretrain_corpus_path")


def without_flags(arguments: list[str]) -> list[str]:
    """
    Arguments in which WORDS are flags, as they are here: ["--function=pretrain", "--variant=rope",
    …] → ["pretrain", "rope", …]. Without that edition's flags that there are not here.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in (*WORDS, "--backend"):
        parser.add_argument(name)
    for name in ("--compile", "--no-compile"):
        parser.add_argument(name, action="store_true")
    found, rest = parser.parse_known_args(arguments)
    leading = [*itertools.takewhile(lambda argument: not argument.startswith("-"), rest)]
    rest = rest[len(leading) :]
    given_twice = len(leading) >= len(WORDS)
    words = []
    for name in WORDS:
        word = getattr(found, name.removeprefix("--"))
        if leading and (word is None or given_twice):
            first = leading.pop(0)
            word = word or first
        words.append(word or name.removeprefix("--").upper())
    if found.compile and words[0] != "evaluate":
        rest.append("--compile")
    return [*words, *leading, *rest]


def check_flags(parser: Parser, functions: dict[str, Parser], arguments: list[str]) -> None:
    """Ends the process with one line for a flag that does not exist, or is another function's."""
    function = next((word for word in arguments if word in functions), None)
    flags = {name: parser._option_string_actions for name, parser in functions.items()}
    known = flags.get(function, {})
    for word in arguments:
        flag = word.partition("=")[0]
        if function is None or flag in known or not re.fullmatch(r"--?[A-Za-z_-]{2,}", flag):
            continue
        owners = [name for name in flags if flag in flags[name]]
        close = difflib.get_close_matches(flag, known, 1)
        hint = f"see run.py {function} --help"
        if owners:
            hint = f"it belongs to {' and '.join(owners)}"
        elif close and not flag.startswith("--no-"):
            hint = f"did you mean {close[0]}?"
        parser.exit(2, f"run.py: error: {flag} is no flag of {function}; {hint}\n")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """
    The command line as a namespace; `function` is pretrain, finetune or evaluate. Ends the process
    with one line where an argument is wrong.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("variant", choices=list(VARIANTS), help="the model's attention")
    common.add_argument(
        "pretrain_corpus_path",
        type=InputPath,
        help="the text to pretrain on; finetune and evaluate take their vocabulary from it",
    )
    common.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of initial parameters, data and dropout; default 0",
    )
    common.add_argument(
        "--device", help="cuda, cuda:1, mps, cpu …; default: a GPU if there is one, else the CPU"
    )
    common.add_argument(
        "--recipe",
        choices=list(RECIPES),
        default="course",
        help="sizes and schedule: course2024 is the campus course's since 2024, quick "
        "the small model of run_all.sh --quick, recall one that recalls more; default course",
    )
    add_bottleneck_dim(common)
    # The course's later editions take these flags with every function.
    for function in ("pretrain", "finetune"):
        common.add_argument(
            f"--{function}_lr",
            type=rate,
            metavar="RATE",
            help=f"peak learning rate of {function} instead of the recipe's",
        )
    common.add_argument(
        "--tb_expt_name",
        metavar="NAME",
        help="write loss and learning rate of a training for TensorBoard, if it is installed, to "
        "expt/FUNCTION/NAME_VARIANT_…, a folder of the course's form",
    )

    training = argparse.ArgumentParser(add_help=False)
    training.add_argument(
        "--writing_params_path",
        type=OutputPath,
        required=True,
        metavar="PARAMS",
        help="where to write the parameters; beside it PARAMS.log.jsonl is the log, PARAMS.json "
        "says what they belong to, and PARAMS.resume holds an unfinished run",
    )
    training.add_argument(
        "--max_epochs",
        type=whole_number(1),
        metavar="N",
        help="epochs instead of the recipe's number",
    )
    training.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="of matmuls; default auto: bfloat16 where the hardware multiplies it, else float32",
    )
    training.add_argument(
        "--micro_batch_size",
        type=whole_number(1),
        metavar="N",
        help="rows in the model at once: saves memory; changes dropout masks and rounding",
    )
    training.add_argument(
        "--compile",
        action="store_true",
        help="for a GPU: torch.compile makes kernels for the model, which takes time at the start",
    )
    training.add_argument(
        "--resume_every",
        type=seconds,
        default=60,
        metavar="SECONDS",
        help="time between writes of PARAMS.resume; default 60, and at most 2%% of the run's time",
    )
    training.add_argument(
        "--restart", action="store_true", help="start over, whatever PARAMS.resume holds"
    )
    training.add_argument(
        "--tb_log_dir",
        type=folder_to_write,
        metavar="FOLDER",
        help="write loss and learning rate for TensorBoard to this folder",
    )

    parser = Parser(
        prog="run.py",
        description="Pretrain, finetune or evaluate a model that is asked where people were born.",
        epilog="A training that was stopped resumes when the same command is given again. "
        "run.py FUNCTION --help lists the flags of a function.",
    )
    functions = parser.add_subparsers(dest="function", required=True, metavar="FUNCTION")
    functions.add_parser(
        "pretrain", parents=[common, training], help="learn a text by span corruption"
    )
    finetune = functions.add_parser(
        "finetune", parents=[common, training], help="learn to answer questions"
    )
    finetune.add_argument(
        "--reading_params_path", type=InputPath, help="pretrained parameters; default: none"
    )
    finetune.add_argument(
        "--finetune_corpus_path", type=InputPath, required=True, help="questions with places"
    )
    evaluate = functions.add_parser("evaluate", parents=[common], help="answer questions")
    evaluate.add_argument(
        "--reading_params_path", type=InputPath, required=True, help="finetuned parameters"
    )
    evaluate.add_argument(
        "--eval_corpus_path",
        type=InputPath,
        required=True,
        help="questions, with places or without",
    )
    evaluate.add_argument(
        "--outputs_path", type=OutputPath, required=True, help="where to write the places"
    )
    evaluate.add_argument(
        "--scores_path",
        type=OutputPath,
        help="where to write a table of the predictions and their probabilities",
    )
    evaluate.add_argument(
        "--beam",
        type=whole_number(1, LARGEST_BEAM),
        default=1,
        metavar="N",
        help="beam search with N beams; default 1, greedy decoding",
    )
    if any(word.partition("=")[0] in WORDS for word in arguments):
        line = one_line(shlex.join(["python", "src/run.py", *without_flags(arguments)]))
        what = "function, variant and corpus are given without flags here; type:"
        parser.exit(2, f"run.py: error: {what} {line}\n")
    check_flags(parser, functions.choices, arguments)
    args = parser.parse_args(arguments)
    parser = functions.choices[args.function]
    if args.function == "evaluate" and processes() > 1:
        parser.error("evaluate runs in one process, without torchrun")
    settle_bottleneck_dim(parser, args)
    settle_tensorboard(parser, args)
    note_unused(args)
    return args


def settle_tensorboard(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Puts the folder that --tb_expt_name stands for into args.tb_log_dir."""
    if args.function == "evaluate" or args.tb_expt_name is None:
        return
    if args.tb_log_dir is not None:
        parser.error("--tb_log_dir and --tb_expt_name name two folders; give one of them")
    if not args.tb_expt_name or os.path.basename(args.tb_expt_name) != args.tb_expt_name:
        parser.error(f"--tb_expt_name: {args.tb_expt_name!r}: a name, not a path, is expected")
    try:
        args.tb_log_dir = folder_to_write(expt_folder(args))
    except argparse.ArgumentTypeError as error:
        parser.error(f"--tb_expt_name: {error}")


def note_unused(args: argparse.Namespace) -> None:
    """Says which flags of the course's later editions do not change this function."""
    unused = {
        "pretrain": ["finetune_lr"],
        "finetune": ["pretrain_lr"],
        "evaluate": ["pretrain_lr", "finetune_lr", "tb_expt_name"],
    }
    for name in unused[args.function]:
        if getattr(args, name) is not None:
            note(f"note: --{name} does not change {args.function}")


def expt_folder(args: argparse.Namespace) -> str:
    """
    The course's folder for TensorBoard: expt/FUNCTION/NAME_VARIANT_pt_lr_%f_ft_lr_%f, with the
    bottleneck after the variant where there is one.
    """
    recipe = RECIPES[args.recipe]
    pretrain_lr = args.pretrain_lr or recipe.pretrain.learning_rate
    from_scratch = args.function == "finetune" and args.reading_params_path is None
    finetune = recipe.finetune_without_pretraining if from_scratch else recipe.finetune
    finetune_lr = args.finetune_lr or finetune.learning_rate
    model = args.variant
    if args.bottleneck_dim is not None:
        model += f"_{args.bottleneck_dim}"
    name = f"{args.tb_expt_name}_{model}_pt_lr_{pretrain_lr:f}_ft_lr_{finetune_lr:f}"
    return os.path.join("expt", args.function, name)


def check_paths(args: argparse.Namespace) -> None:
    """Raises InputError if an output would overwrite an input or another output."""
    paths = [path for path in vars(args).values() if isinstance(path, InputPath | OutputPath)]
    outputs = []
    for path in paths:
        if isinstance(path, OutputPath) and not is_special(path):
            outputs.append((path, path))
            if path == getattr(args, "writing_params_path", None):
                outputs += [(path, file) for file in written_beside(args)]
    for path, file in outputs:
        for other in paths:
            # Finetuned parameters may replace the pretrained ones.
            replaces = args.function == "finetune" and other == args.reading_params_path
            if (
                isinstance(other, InputPath)
                and is_same_file(file, other)
                and not (replaces and file == path)
            ):
                beside = "" if file == path else f"{file}, written beside it, "
                raise InputError(f"{path}: {beside}would overwrite an input of this command")
    if "writing_params_path" in args:
        refuse_another_file(args.writing_params_path)
    names = [os.path.realpath(file) for _, file in outputs]
    if len(set(names)) < len(names):
        raise InputError(f"{outputs[-1][1]}: is to be written twice by this command")


def refuse_another_file(path: str) -> None:
    """Raises InputError if parameters would overwrite a file that is something else."""
    if os.path.isfile(path) and os.access(path, os.R_OK):
        with open(path, "rb") as file:
            start = file.read(2)
        if start not in (b"", b"PK", b"\x80\x02"):  # how torch's files begin, new and old
            raise InputError(f"{path}: is there already and no parameter file; give another name")


def is_same_file(path: str, other: str) -> bool:
    return os.path.exists(path) and os.path.samefile(path, other)


def written_beside(args: argparse.Namespace) -> list[str]:
    """The files that a training writes beside its parameters."""
    return [resume_path(args), log_path(args), meta_path(args.writing_params_path)]


def resume_path(args: argparse.Namespace) -> str:
    return f"{args.writing_params_path}.resume"


def log_path(args: argparse.Namespace) -> str:
    return f"{args.writing_params_path}.log.jsonl"
