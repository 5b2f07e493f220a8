"""
The assignment's command line: pretrain, finetune or evaluate a model (Stanford CS224N, assignment 5, parts d, f and g).

    run.py pretrain VARIANT CORPUS --writing_params_path OUT
    run.py finetune VARIANT CORPUS --finetune_corpus_path TSV --writing_params_path OUT [--reading_params_path PRETRAINED]
    run.py evaluate VARIANT CORPUS --reading_params_path PARAMS --eval_corpus_path TSV --outputs_path PREDICTIONS

The functions pretrain, finetune, train and evaluate do the same from Python; importing this module runs nothing.
"""
import contextlib
import errno
import math
import os
import sys

# GNU OpenMP reads it when torch is loaded. Its threads wait for each other at the end of every operation, running idle for about
# a millisecond before they let go of their core. Where two of them share one, since something else runs beside them or a
# container has less of the processor than it sees, that makes a training step twenty times as long.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from arguments import check_paths, log_path, parse_arguments, resume_path
from checkpoint import load_params, save_params
from dataset import (MASK_CHAR, PAD_CHAR, CharCorruptionDataset, InputError, NameDataset, describe, errors_name,
                     parse_questions, read_text, refuse_reserved)
from decoding import find_answers
from files import is_special, sole_writer, write_atomically
from hardware import (PRECISIONS, choose_device, choose_precision, first_process_speaks, is_first_process, keep_freed_memory,
                      process_group)
from model import GPT, GPTConfig
from progress import note, tensorboard_writer
from recipe import COURSE, RECIPES
from resume import Checkpointer, Stopped, digest, digest_of_state
from trainer import Trainer, TrainerConfig
from utils import score_places, set_seed

ANSWER_LENGTH = 32  # characters of a prediction at the most


def pretrain(pretrain_dataset, block_size, model, pretrain_lr=None, writer=None, recipe=COURSE, **settings):
    """
    Part (f): the TrainerConfig and the Trainer that pretrain the model by span corruption. Call train() to run them.

    pretrain_lr: the peak learning rate, the recipe's if None. writer: a TensorBoard SummaryWriter. settings: further
    settings of TrainerConfig (seed, device, max_epochs …).
    """
    tconf = trainer_config(recipe.pretrain, pretrain_dataset, block_size, pretrain_lr, writer, settings)
    return tconf, Trainer(model, pretrain_dataset, None, tconf)


def finetune(reading_params_path, finetune_corpus_path, pretrain_dataset, block_size, model, finetune_lr=None, writer=None,
             recipe=COURSE, **settings):
    """
    Parts (d) and (f): the TrainerConfig and the Trainer that teach the model to answer. Call train() to run them.

    reading_params_path: pretrained parameters, loaded into the model, or None to go without. The other arguments are
    pretrain()'s. Raises InputError for parameters or a corpus that cannot be used.
    """
    training = recipe.finetune_without_pretraining if reading_params_path is None else recipe.finetune
    text = read_text(finetune_corpus_path)
    note_blank_lines(finetune_corpus_path, text)
    with errors_name(finetune_corpus_path):
        dataset = NameDataset(pretrain_dataset, text)
    if dataset.dropped:
        print(f"{finetune_corpus_path}: {dataset.dropped} characters outside ASCII dropped, as in the course's code")
    if reading_params_path is not None:
        load_params(model, reading_params_path, what_to_give)
    tconf = trainer_config(training, pretrain_dataset, block_size, finetune_lr, writer, settings)
    return tconf, Trainer(model, dataset, None, tconf)


def what_to_give(found, expected):
    """
    What to give instead where parameters are of other sizes than the model: the recipe that has these, the corpus, or both. found,
    expected: see checkpoint.sizes_of(). Empty if nothing is known to help.
    """
    if not found or not expected:
        return ""
    hints, shape = [], found.keys() - {"vocab_size"}
    if any(found[name] != expected[name] for name in shape):
        recipes = [name for name, recipe in RECIPES.items() if all(getattr(recipe, size) == found[size] for size in shape)]
        if not recipes:
            return ""
        hints.append(f"give --recipe {recipes[0]}")
    if found["vocab_size"] != expected["vocab_size"]:
        hints.append("the pretraining corpus has another vocabulary than the one these were trained with: give that corpus")
    return "; ".join(hints)


def trainer_config(training, pretrain_dataset, block_size, learning_rate, writer, settings):
    """The TrainerConfig of one of a recipe's trainings."""
    return TrainerConfig(**{
        "max_epochs": training.max_epochs, "batch_size": training.batch_size,
        "learning_rate": training.learning_rate if learning_rate is None else learning_rate,
        "lr_decay": True, "warmup_tokens": training.warmup_tokens,
        "final_tokens": training.final_tokens(pretrain_dataset, block_size),
        "num_workers": 4, "writer": writer, "precision": "auto", **settings})


def train(model, writing_params_path, trainer):
    """
    Runs a Trainer to its end and writes the model's parameters; of several processes, the first writes. What was kept to take
    an interrupted run up again is no longer needed then.
    """
    trainer.train()
    if trainer.rank == 0:
        save_params(model, writing_params_path)
    if trainer.config.checkpointer is not None:
        trainer.config.checkpointer.remove()


def evaluate(model, pretrain_dataset, eval_corpus_path, outputs_path, scores_path=None, beam=1):
    """
    Asks the model each question of a TSV file, writes the predicted places, and prints how many are right.

    The prompt is `question ⁇`; the prediction is what the model finds most probable, character by character (with beam > 1: as a
    whole, see decoding.find_answers), up to the next ⁇, ANSWER_LENGTH characters or the end of the block. A character that the
    pretraining corpus lacks is left out of the question, with a warning. scores_path: where to write scores_table(), or None.
    Returns (total, correct) as evaluate_places does.
    """
    text = read_text(eval_corpus_path)
    note_blank_lines(eval_corpus_path, text)
    with errors_name(eval_corpus_path):
        questions = parse_questions(text)
        prompts = [encode_prompt(question, pretrain_dataset, model.max_positions, eval_corpus_path) for question in questions]
    answers = find_answers(model, prompts, pretrain_dataset.stoi[MASK_CHAR], ANSWER_LENGTH, beam)
    # An untrained model may answer with line ends; they would shift the lines of the file.
    places = [" ".join("".join(pretrain_dataset.itos[i] for i in answer.ids).splitlines()) for answer in answers]
    write_lines(outputs_path, places)
    if scores_path is not None:
        write_lines(scores_path, scores_table(questions, places, answers))
    if beam > 1:
        proven = sum(answer.proven for answer in answers)
        note(f"note: beam {beam}: for {proven} of {len(answers)} questions it is proven that no other answer is more probable")
    total, correct = score_places(questions, places)
    if total > 0:
        print(f"Correct: {correct} out of {total}: {correct / total * 100}%")
    else:
        print(f"Predictions written to {outputs_path}; no targets provided")
    return total, correct


def scores_table(questions, places, answers):
    """
    The lines of a TSV table: question, prediction, its probability (the product over its characters and the closing ⁇), and, where the
    file has it, the true place and whether the prediction is right (1 or 0). After a beam search also whether no other answer can be
    more probable (1 or 0).
    """
    searched = any(answer.proven is not None for answer in answers)
    yield "question\tprediction\tprobability\tplace\tcorrect" + "\tproven" * searched
    for question, place, answer in zip(questions, places, answers):
        known = ["", ""] if question.place is None else [question.place, f"{place == question.place:d}"]
        if searched:
            known.append(f"{bool(answer.proven):d}")
        yield "\t".join((question.text, place.replace("\t", " "), f"{math.exp(answer.log_probability):.6g}", *known))


def write_lines(path, lines):
    write_atomically(path, lambda file: file.write("".join(f"{line}\n" for line in lines).encode("utf-8")))


def encode_prompt(question, pretrain_dataset, max_positions, path):
    """`question ⁇` as ids; characters that no corpus can have taught are left out, with a warning on standard error."""
    known = pretrain_dataset.stoi.keys() - {MASK_CHAR, PAD_CHAR}
    unknown = sorted(set(question.text) - known)
    if unknown:
        note(f"warning: {path}: line {question.line}: {describe(unknown)} not in the pretraining corpus; left out of the "
              "question")
    ids = [pretrain_dataset.stoi[char] for char in question.text if char in known] + [pretrain_dataset.stoi[MASK_CHAR]]
    if len(ids) > max_positions:
        raise InputError(f"line {question.line}: the question takes {len(ids)} characters with its {MASK_CHAR}; the model has "
                         f"room for {max_positions}")
    return ids


def read_corpus(path, block_size):
    """The pretraining dataset of a corpus file, blank lines between documents left out (with a note)."""
    text = read_text(path)
    note_blank_lines(path, text)
    with errors_name(path):
        refuse_reserved(text)  # here, where its line numbers are the file's
    documents = [line for line in text.split("\n") if line.strip()]
    if not documents:
        raise InputError(f"{path}: no document in it")
    ending = "\n" if text.endswith("\n") else ""
    return CharCorruptionDataset("\n".join(documents) + ending, block_size)


def note_blank_lines(path, text):
    """Prints how many lines of a file's text are blank and will be skipped, if any. The end of the last line counts as none."""
    blank = sum(not line.strip() for line in text.removesuffix("\n").split("\n"))
    if blank and text.strip():
        print(f"{path}: {blank} blank {'line' if blank == 1 else 'lines'} skipped")


def make_checkpointer(args, trainer, pretrain_dataset):
    """What keeps the state of the command's training beside the parameters that it is to write; None for a target like /dev/null."""
    if is_special(args.writing_params_path):
        return None
    settings = {"function": args.function, "variant": args.variant, "recipe": args.recipe,
                "pretraining corpus": digest("\n".join(pretrain_dataset.data).encode("utf-8"))}
    if args.function == "finetune":
        settings["finetuning corpus"] = digest(repr(trainer.train_dataset.data).encode("utf-8"))
        settings["pretrained model"] = "none" if args.reading_params_path is None else digest_of_state(trainer.model.state_dict())
    return Checkpointer(resume_path(args), settings, log_path(args), args.resume_every, args.restart)


@contextlib.contextmanager
def output_lock(args):
    """Holds the files that the command is to write against other runs; of several processes, the first does."""
    with contextlib.ExitStack() as locks:
        if is_first_process() and args.function == "evaluate":
            for path in filter(None, (args.outputs_path, args.scores_path)):
                locks.enter_context(sole_writer(path))
        elif is_first_process():
            locks.enter_context(sole_writer(args.writing_params_path, companions=[resume_path(args), log_path(args)]))
        yield


def run(args):
    """Carries out a parsed command line. Raises InputError where the input is at fault."""
    check_paths(args)
    with output_lock(args):
        carry_out(args)


def carry_out(args):
    device = choose_device(args.device)
    recipe = RECIPES[args.recipe]
    set_seed(args.seed)
    pretrain_dataset = read_corpus(args.pretrain_corpus_path, recipe.block_size)
    config = GPTConfig(pretrain_dataset.vocab_size, recipe.block_size, **recipe.model_settings(),
                       **{args.variant: True})
    model = GPT(config).to(device)
    settings = {"seed": args.seed, "device": device, "precision": args.precision, "micro_batch_size": args.micro_batch_size}
    if args.max_epochs is not None:
        settings["max_epochs"] = args.max_epochs

    if args.function == "evaluate":
        load_params(model, args.reading_params_path, what_to_give)
        evaluate(model, pretrain_dataset, args.eval_corpus_path, args.outputs_path, args.scores_path, args.beam)
        return
    if args.function == "pretrain":
        _, trainer = pretrain(pretrain_dataset, recipe.block_size, model, recipe=recipe, **settings)
    else:
        _, trainer = finetune(args.reading_params_path, args.finetune_corpus_path, pretrain_dataset, recipe.block_size, model,
                              recipe=recipe, **settings)
    if args.precision == "auto" and choose_precision("auto", device) != PRECISIONS["float32"]:
        note("note: products of matrices are in bfloat16, which this machine multiplies in hardware; --precision float32 is "
              "slower and more precise")
    trainer.config.checkpointer = make_checkpointer(args, trainer, pretrain_dataset)
    with tensorboard_writer(args.tb_log_dir if is_first_process() else None) as trainer.config.writer:
        train(model, args.writing_params_path, trainer)


def main(arguments=None):
    """The command line. Exits with 2 and one line where the input is at fault, with 128 and its number more after a signal."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's stream has not
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # a file's name need not be UTF-8
    with first_process_speaks():
        args = parse_arguments(arguments)
        keep_freed_memory()
        try:
            with process_group(args.device):
                run(args)
            sys.stdout.flush()
        except InputError as error:
            note(f"run.py: error: {error}")
            sys.exit(2)
        except Stopped as stop:
            note(f"run.py: stopped: {stop}")
            sys.exit(128 + stop.number)
        except KeyboardInterrupt:
            note("run.py: interrupted")
            sys.exit(130)
        except OSError as error:
            if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
                raise  # a mistake of ours
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # so that Python does not try once more as it ends
            note(f"run.py: error: standard output: cannot be written: {error.strerror}")
            sys.exit(2)


if __name__ == "__main__":
    main()
