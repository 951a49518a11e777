"""Displays for users: the progress of a search and the table of its models."""

from kmorph.report.progress import Progress
from kmorph.report.table import models_table

__all__ = ["Progress", "models_table"]
