"""model.py by the name that it has in the course's editions of 2024 and 2025."""

from model import *  # noqa: F403
