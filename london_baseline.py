"""
The simplest baseline of part (d): answers "London" to every question.

    python london_baseline.py [--eval_corpus_path TSV]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
from dataset import parse_questions  # noqa: E402
from runs.console import Parser, command  # noqa: E402
from runs.inputs import errors_name, read_text  # noqa: E402
from utils import score_places  # noqa: E402


def main():
    parser = Parser(description='Score the answer "London" to every question.')
    parser.add_argument(
        "--eval_corpus_path",
        default="birth_dev.tsv",
        help="questions with places; default birth_dev.tsv",
    )
    path = parser.parse_args().eval_corpus_path
    with command("london_baseline.py"):
        text = read_text(path)
        with errors_name(path):
            questions = parse_questions(text)
        total, correct = score_places(questions, ["London"] * len(questions))
        if total > 0:
            print(f"Correct: {correct} out of {total}: {correct / total * 100}%")


if __name__ == "__main__":
    main()
