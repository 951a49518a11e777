"""What every test needs."""

import os

# Before anything loads TensorFlow: its notes about the processor drown the messages of failed tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
