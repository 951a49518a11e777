"""What a search keeps on disk, and reading it again: records, history, models, the folder and its lock."""
