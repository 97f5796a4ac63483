"""Training of the built-in detector, by detectron2's SOLVER and INPUT keys."""
