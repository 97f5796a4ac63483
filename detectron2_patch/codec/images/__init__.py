"""Image codecs: the picture itself sent, the rival of every coded pyramid. A library a file."""
