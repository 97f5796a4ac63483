"""Two machines: what one sends of images, and what the other makes of it."""
