"""The parts of object detection: boxes, pictures, networks, their training, and average precision."""
