"""Archives and layouts: images in files, as other tools write and read them."""
