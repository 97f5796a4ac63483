"""Many settings for the price of a few: what settings share is computed once for each image.

``run`` does a whole ``task``: ``pending`` finds the ``settings`` that have no result yet,
``estimate`` tells what they will cost, ``plan`` what they need. Then data goes one way: ``onepass``
(an image's detections under every setting, by ``merge`` and ``suppress``) -> ``spool`` (on disk)
-> ``score`` (AP of each setting) -> a result file each.
"""
