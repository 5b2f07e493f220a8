"""
The assignment's command line: pretrain, finetune or evaluate a model (Stanford CS224N, assignment
5, parts d, f and g).

    run.py pretrain VARIANT CORPUS --writing_params_path OUT
    run.py finetune VARIANT CORPUS --finetune_corpus_path TSV --writing_params_path OUT
                                   [--reading_params_path PRETRAINED]
    run.py evaluate VARIANT CORPUS --reading_params_path PARAMS --eval_corpus_path TSV
                                   --outputs_path PREDICTIONS

The functions pretrain, finetune, train and evaluate do the same from Python; importing this module
runs nothing.
"""

import runs.startup  # noqa: F401, before torch is loaded

# isort: split
import argparse
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from arguments import check_paths, log_path, parse_arguments, resume_path, written_beside
from attention import VARIANTS
from dataset import MASK_CHAR, CharCorruptionDataset, Question
from fast.decoding import Answer, generate
from model import GPT, GPTConfig
from reading import (
    ANSWER_LENGTH,
    encode_prompts,
    note_unusual_corpus,
    note_unusual_questions,
    read_corpus,
    read_names,
    read_questions,
)
from recipe import COURSE, RECIPES, Recipe, Training
from runs.checkpoint import digest, load_params, save_params, unwrap
from runs.console import command, note
from runs.device import PRECISIONS, choose_device
from runs.distributed import first_process_speaks, is_first_process, process_group
from runs.files import check_output, is_special, sole_writer, write_lines
from runs.inputs import InputError, errors_name
from runs.progress import tensorboard_writer
from runs.resume import Checkpointer, Stopped, digest_of_code, digest_of_state
from trainer import NotFiniteError, OutOfMemoryError, Trainer, TrainerConfig
from utils import score_places, set_seed


def pretrain(
    pretrain_dataset: CharCorruptionDataset,
    block_size: int,
    model: nn.Module,
    pretrain_lr: float | None = None,
    writer: Any = None,
    recipe: Recipe = COURSE,
    **settings,
) -> tuple[TrainerConfig, Trainer]:
    """
    Part (f): the TrainerConfig and the Trainer that pretrain the model by span corruption. Call
    train() to run them.

    pretrain_lr: the peak learning rate, the recipe's if None. writer: a TensorBoard SummaryWriter.
    settings: further settings of TrainerConfig (seed, device, max_epochs …).
    """
    training = recipe.pretrain
    tconf = trainer_config(training, pretrain_dataset, block_size, pretrain_lr, writer, settings)
    return tconf, Trainer(model, pretrain_dataset, None, tconf)


def finetune(
    reading_params_path: str | None,
    finetune_corpus_path: str,
    pretrain_dataset: CharCorruptionDataset,
    block_size: int,
    model: nn.Module,
    finetune_lr: float | None = None,
    writer: Any = None,
    recipe: Recipe = COURSE,
    meta: dict | None = None,
    **settings,
) -> tuple[TrainerConfig, Trainer]:
    """
    Parts (d) and (f): the TrainerConfig and the Trainer that teach the model to answer. Call
    train() to run them.

    reading_params_path: pretrained parameters, loaded into the model, or None to go without. meta:
    see runs.checkpoint.load_params(). The other arguments are pretrain()'s. Raises InputError for
    parameters or a corpus that cannot be used.
    """
    scratch = reading_params_path is None
    training = recipe.finetune_without_pretraining if scratch else recipe.finetune
    dataset = read_names(finetune_corpus_path, pretrain_dataset)
    if not scratch:
        found = load_params(model, reading_params_path, what_to_give, meta)
        note_other_training(reading_params_path, found, meta)
    tconf = trainer_config(training, pretrain_dataset, block_size, finetune_lr, writer, settings)
    return tconf, Trainer(model, dataset, None, tconf)


def note_other_training(path: str, found: dict, meta: dict | None) -> None:
    """Says if the parameters to finetune are not those that this recipe's pretraining writes."""
    recipe = (meta or {}).get("recipe")
    if found.get("function", "pretrain") != "pretrain":
        note(f"note: {path} was written by {found['function']}, not by pretrain")
    elif recipe and found.get("recipe", recipe) != recipe:
        note(f"note: {path} was pretrained with --recipe {found['recipe']}, not {recipe}")


def trainer_config(
    training: Training,
    pretrain_dataset: CharCorruptionDataset,
    block_size: int,
    learning_rate: float | None,
    writer: Any,
    settings: dict,
) -> TrainerConfig:
    """The TrainerConfig of one of a recipe's trainings."""
    config = TrainerConfig(
        max_epochs=training.max_epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate if learning_rate is None else learning_rate,
        optimizer=training.optimizer,
        lr_decay=True,
        warmup_tokens=training.warmup_tokens,
        final_tokens=training.final_tokens(pretrain_dataset, block_size),
        num_workers=4,
        writer=writer,
        precision="auto",
    )
    return replace(config, **settings)


def what_to_give(found: dict[str, int], expected: dict[str, int]) -> str:
    """
    What to give instead where parameters have other sizes than the model: a recipe that has these
    sizes, the corpus, or both. found, expected: see runs.checkpoint.sizes_of(). Empty if
    unknown.
    """
    if not found or not expected:
        return ""
    hints, shape = [], found.keys() - {"vocab_size", "bottleneck_dim"}
    bottlenecks = found.get("bottleneck_dim"), expected.get("bottleneck_dim")
    if None not in bottlenecks and bottlenecks[0] != bottlenecks[1]:
        hints.append(f"--bottleneck_dim {bottlenecks[0]}")
    if any(found[name] != expected[name] for name in shape):
        fitting = [
            name
            for name, recipe in RECIPES.items()
            if all(getattr(recipe, size) == found[size] for size in shape)
        ]
        if not fitting:
            return ""
        hints.append(f"--recipe {' or '.join(fitting)}")
    if found["vocab_size"] != expected["vocab_size"]:
        hints.append("the corpus that these were pretrained on: this one's vocabulary differs")
    return "give " + " and ".join(hints) if hints else ""


def initialize_model(variant: str, mconf: GPTConfig, **settings) -> GPT:
    """A GPT of the config, in which the variant's flag and the settings are set first."""
    for name in VARIANTS:
        setattr(mconf, name, False)  # the flag of an earlier model with the same config
    for name, value in {**settings, variant: True}.items():
        setattr(mconf, name, value)
    return GPT(mconf)


def initialize_vanilla_model(mconf: GPTConfig) -> GPT:
    return initialize_model("vanilla", mconf)


def initialize_synthesizer_model(mconf: GPTConfig) -> GPT:
    return initialize_model("synthesizer", mconf)


def initialize_perceiver_model(mconf: GPTConfig, bottleneck_dim: int = 32) -> GPT:
    return initialize_model("perceiver", mconf, bottleneck_dim=bottleneck_dim)


def initialize_rope_model(mconf: GPTConfig) -> GPT:
    return initialize_model("rope", mconf)


def train(
    model: nn.Module,
    writing_params_path: str,
    trainer_obj: Trainer,
    checkpointer: Checkpointer | None = None,
    meta: dict | None = None,
) -> None:
    """
    Runs a Trainer to its end and writes the model's parameters; of several processes, the first
    writes. checkpointer: keeps the run, so that it can resume. meta: what PARAMS.json is to say.
    """
    check_output(writing_params_path)
    trainer_obj.train(checkpointer)
    if trainer_obj.rank == 0:
        save_params(model, writing_params_path, meta)
    if checkpointer is not None:
        checkpointer.remove()


def evaluate(
    model: nn.Module,
    pretrain_dataset: CharCorruptionDataset,
    eval_corpus_path: str,
    outputs_path: str,
    scores_path: str | None = None,
    beam: int = 1,
) -> tuple[float, float]:
    """
    Asks the model each question of a TSV file, writes the predicted places, and prints how many
    are right.

    The prompt is `question ⁇`. The prediction is what the model continues it with, by greedy
    decoding or with `beam` beams, up to the next ⁇, ANSWER_LENGTH characters or the end of the
    block. A character that is not in the vocabulary is left out of the question, with a warning.
    scores_path: where to write scores_table(), or None. Returns (total, correct) as
    evaluate_places does.
    """
    model = unwrap(model)
    questions = read_questions(eval_corpus_path)
    for path in filter(None, (outputs_path, scores_path)):
        check_output(path)
        if os.path.exists(path) and os.path.samefile(path, eval_corpus_path):
            raise InputError(f"{path}: would overwrite the questions")
    with errors_name(eval_corpus_path):
        positions = model.max_positions
        prompts = encode_prompts(questions, pretrain_dataset, positions, eval_corpus_path)
    note_unusual_questions(eval_corpus_path, questions)
    answers = generate(model, prompts, pretrain_dataset.stoi[MASK_CHAR], ANSWER_LENGTH, beam)
    texts = ("".join(pretrain_dataset.itos[i] for i in answer.ids) for answer in answers)
    # An untrained model may answer with line ends; they would shift the lines of the file.
    places = [" ".join(text.splitlines()) for text in texts]
    write_lines(outputs_path, places)
    if scores_path is not None:
        write_lines(scores_path, scores_table(questions, places, answers))
    if beam > 1:
        proven = sum(answer.proven for answer in answers)
        note(
            f"note: beam {beam}: {proven} of {len(answers)} answers are proven to be the most "
            "probable"
        )
    total, correct = score_places(questions, places)
    if total > 0:
        print(f"Correct: {correct} out of {total}: {correct / total * 100}%")
    else:
        print(f"Predictions written to {outputs_path}; no targets provided")
    return total, correct


def scores_table(
    questions: list[Question], places: list[str], answers: list[Answer]
) -> Iterator[str]:
    """
    The lines of a TSV table: question, prediction, its probability (the product over its
    characters and the closing ⁇), and, where the file has places, the true place and whether the
    prediction is right (1 or 0). After a beam search also whether no other answer is more probable
    (1 or 0).
    """
    searched = any(answer.proven is not None for answer in answers)
    yield "question\tprediction\tprobability\tplace\tcorrect" + "\tproven" * searched
    for question, place, answer in zip(questions, places, answers, strict=True):
        known = ["", ""]
        if question.place is not None:
            known = [question.place, f"{place == question.place:d}"]
        if searched:
            known.append(f"{bool(answer.proven):d}")
        probability = f"{math.exp(answer.log_probability):.6g}"
        yield "\t".join((question.text, place.replace("\t", " "), probability, *known))


def make_checkpointer(
    args: argparse.Namespace, trainer: Trainer, pretrain_dataset: CharCorruptionDataset
) -> Checkpointer | None:
    """
    What keeps the command's training, beside its parameters; None for a target like /dev/null.
    """
    if is_special(args.writing_params_path):
        return None
    corpus = "\n".join(pretrain_dataset.data).encode("utf-8")
    settings = {
        "function": args.function,
        "variant": args.variant,
        "recipe": args.recipe,
        "pretraining corpus": digest(corpus),
    }
    if args.bottleneck_dim is not None:
        settings["bottleneck_dim"] = args.bottleneck_dim
    if args.function == "finetune":
        settings["finetuning corpus"] = digest(repr(trainer.train_dataset.data).encode("utf-8"))
        settings["pretrained model"] = "none"
        if args.reading_params_path is not None:
            settings["pretrained model"] = digest_of_state(trainer.model.state_dict())
    return Checkpointer(
        resume_path(args), settings, log_path(args), args.resume_every, args.restart
    )


def configure(args: argparse.Namespace, pretrain_dataset: CharCorruptionDataset) -> GPTConfig:
    """The GPTConfig that a command line asks for."""
    recipe = RECIPES[args.recipe]
    flags = {"bottleneck_dim": args.bottleneck_dim, args.variant: True}
    sizes = pretrain_dataset.vocab_size, recipe.block_size
    return GPTConfig(*sizes, **recipe.model_settings(), **flags)


def describe_params(
    args: argparse.Namespace, config: GPTConfig, pretrain_dataset: CharCorruptionDataset
) -> dict:
    """What PARAMS.json says of the parameters that a command reads or writes."""
    sizes = {name: getattr(config, name) for name in GPTConfig.SIZES}
    if config.bottleneck_dim is not None:
        sizes["bottleneck_dim"] = config.bottleneck_dim
    characters = "".join(pretrain_dataset.itos[i] for i in range(pretrain_dataset.vocab_size))
    return {
        "function": args.function,
        "variant": args.variant,
        "recipe": args.recipe,
        "sizes": sizes,
        "vocabulary": digest(characters.encode("utf-8")),
        "seed": args.seed,
    }


def carry_out(args: argparse.Namespace) -> None:
    """Carries out a parsed command line. Raises InputError where the input is at fault."""
    recipe, device = RECIPES[args.recipe], choose_device(args.device)
    set_seed(args.seed)
    dataset = read_corpus(args.pretrain_corpus_path, recipe.block_size, recipe.dataset)
    config = configure(args, dataset)
    model = GPT(config).to(device)
    meta = describe_params(args, config, dataset)
    if args.function == "pretrain":
        note_unusual_corpus(args.pretrain_corpus_path, dataset)
    if args.function == "evaluate":
        found = load_params(model, args.reading_params_path, what_to_give, meta)
        if found.get("function") == "pretrain":
            note(f"note: {args.reading_params_path} is pretrained, and not finetuned to answer")
        path, scores_path = args.outputs_path, args.scores_path
        evaluate(model, dataset, args.eval_corpus_path, path, scores_path, args.beam)
    elif is_first_process():
        path = args.writing_params_path
        with (
            sole_writer(path, written_beside(args)),
            tensorboard_writer(args.tb_log_dir) as writer,
        ):
            carry_out_training(args, dataset, model, meta, device, writer)
    else:
        carry_out_training(args, dataset, model, meta, device, None)


def carry_out_training(
    args: argparse.Namespace,
    dataset: CharCorruptionDataset,
    model: GPT,
    meta: dict,
    device: torch.device,
    writer: Any,
) -> None:
    recipe = RECIPES[args.recipe]
    settings = {"writer": writer, "recipe": recipe, "device": device}
    for name in ("seed", "precision", "micro_batch_size", "compile", "max_epochs"):
        if getattr(args, name) is not None:
            settings[name] = getattr(args, name)
    if args.function == "pretrain":
        _, trainer = pretrain(dataset, recipe.block_size, model, args.pretrain_lr, **settings)
    else:
        paths, rate = (args.reading_params_path, args.finetune_corpus_path), args.finetune_lr
        settings["meta"] = meta
        _, trainer = finetune(*paths, dataset, recipe.block_size, model, rate, **settings)
        if args.reading_params_path is None:
            note(
                "note: without --reading_params_path training starts from scratch; epochs: "
                f"{trainer.config.max_epochs}"
            )
    if args.precision == "auto" and trainer.precision != PRECISIONS["float32"]:
        note(
            "note: matmuls are in bfloat16, which this machine multiplies in hardware; "
            "--precision float32 is slower and more precise"
        )
    path = args.writing_params_path
    if os.path.isfile(path) and not os.path.exists(resume_path(args)):
        note(f"note: {path} is there already; it is replaced when this training has ended")
    checkpointer = make_checkpointer(args, trainer, dataset)
    meta["code"] = digest_of_code(Path(__file__).parent)
    try:
        train(model, args.writing_params_path, trainer, checkpointer, meta)
    except NotFiniteError as error:
        raise InputError(f"{error}; try --precision float32 or another --seed") from None
    except OutOfMemoryError as error:
        smaller = 2 ** ((error.rows - 1).bit_length() - 1) if error.rows > 1 else None
        advice = f"--micro_batch_size {smaller}" if smaller else "--device cpu"
        raise InputError(f"{error}; try {advice}; the recipe stays the same") from None


def main(arguments: list[str] | None = None) -> None:
    """
    The command line. Exits with 2 and one line where the input is at fault, after a signal with
    128 and its number.
    """
    with command("run.py"), first_process_speaks():
        args = parse_arguments(arguments)
        try:
            check_paths(args)
            with process_group(args.device):
                carry_out(args)
        except Stopped as stop:
            note(f"run.py: stopped: {stop}")
            sys.exit(128 + stop.number)


if __name__ == "__main__":
    main()
