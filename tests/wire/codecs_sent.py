"""A setting of each kind that crosses the wire, and a word of each registered codec."""

# settings of maps that a test can make without a detector
MAPS = [
    "",
    "--bits 5",
    "--bits 3 --range channel",
    "--send p3 p5 --bits 2",
    "--cr 2 2 1 1 1",
    "--frames hevc:20",
]
IMAGES = {
    "jpeg": "90/444",
    "webp": "90",
    "avif": "90/444",
    "jxl": "1",
    "hevc": "10",
    "av1": "10",
}
