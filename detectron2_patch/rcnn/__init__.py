"""Faster and Mask R-CNN with a feature pyramid, from torch and torchvision's operators.

The modules carry detectron2's parameter names, so a state dict means the same in both. Letters
in shapes: ``N`` images, ``L`` levels, ``A`` anchors a location, ``C`` channels, ``K`` classes,
``R`` boxes; boxes are ``(x1, y1, x2, y2)`` in pixels of the network's input.
"""
