"""Files that name many images: what to lock, and what to keep in sync."""
