"""The loop of a search: propose, evaluate, record; its history on disk."""
