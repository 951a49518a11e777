"""The strategy of a search: its schedule, plans, proposals, and how it settles."""
