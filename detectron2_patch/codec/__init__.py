"""From one sent map to bytes and back: quantisation, a lossless coder, the bitstream."""
