"""From the layers of an image to one file system."""
