"""What a folder of results says: figures, one page that explores it, and a table.

``inputs`` reads, ``records`` flattens, ``figures`` draws, ``page`` and ``table`` write.
"""
