"""One graph, data and a plan in; a trained graph and its metrics out, inside a deadline."""
