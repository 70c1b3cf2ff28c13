"""Pure values of the image formats: no I/O, no threads, no clock, no environment."""
