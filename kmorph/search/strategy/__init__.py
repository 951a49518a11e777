"""What is trained next, for how long, and when the search settles: clock, plans, proposals, the end."""
