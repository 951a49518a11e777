"""Storage of a search on disk, and reading it again: records, history, models, the folder and its lock."""
