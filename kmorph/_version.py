"""The version of kmorph, in the one place that packaging and users read it from."""

__version__ = "0.1.0"
