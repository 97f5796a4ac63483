"""Many settings for the price of a few: what settings share is computed once for each image.

Data goes one way: ``settings`` (what to evaluate) -> ``plan`` (what that needs) -> ``onepass``
(an image's detections under every setting; its parts are ``merge`` and ``suppress``) -> ``spool``
(on disk) -> ``score`` (AP of each setting) -> ``run`` (all of it, resumable).
"""
